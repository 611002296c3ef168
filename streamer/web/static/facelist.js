/**
 * The cards of the faces that are in sight of one stream.
 */
import { EMOTIONS, notAssessed, percent, topEmotion, trackColor } from "./overlay.js";

/** Set a text only where it changed, so that nothing is laid out or read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class FaceList {
  /** @param {HTMLElement} section the element of class `faces` of a tile */
  constructor(section) {
    this.list = section.querySelector(".face-cards");
    this.nothing = section.querySelector(".no-faces");
    this.cards = new Map();
  }

  /**
   * Show these faces. Cards are kept per track and ordered by it, so that nothing jumps.
   * @param {object[]} faces
   * @param {string} nothing what to say when there are none
   */
  update(faces, nothing) {
    const keyed = faces.map((face, index) => [face.trackId ?? `untracked ${index}`, face]);
    keyed.sort(([a], [b]) => (typeof a === "number" && typeof b === "number" ? a - b : 0));
    const present = new Set(keyed.map(([key]) => key));
    for (const [key, card] of this.cards) {
      if (present.has(key)) continue;
      card.element.remove();
      this.cards.delete(key);
    }
    let before = this.list.firstElementChild;
    for (const [key, face] of keyed) {
      let card = this.cards.get(key);
      if (!card) this.cards.set(key, card = new FaceCard(face));
      if (card.element === before) before = before.nextElementSibling;
      else this.list.insertBefore(card.element, before);
      card.update(face);
    }
    this.nothing.hidden = faces.length > 0;
    setText(this.nothing, nothing);
  }
}

class FaceCard {
  constructor(face) {
    const template = document.getElementById("face-template");
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (name) => this.element.querySelector(`.${name}`);
    this.id = part("face-id");
    this.gender = part("face-gender");
    this.age = part("face-age");
    this.facts = part("face-facts");
    this.note = part("face-note");
    this.pose = part("face-pose");
    this.barList = part("bars");
    this.bars = new Map(EMOTIONS.map((name) => [name, this.addBar(name)]));
    this.element.style.setProperty("--track", trackColor(face.trackId));
  }

  addBar(name) {
    const bar = document.createElement("li");
    bar.className = `bar-row ${name}`;
    for (const part of ["bar-name", "bar-track", "bar-value"]) {
      const span = document.createElement("span");
      span.className = part;
      bar.append(span);
    }
    const [label, track, value] = bar.children;
    const rest = document.createElement("span"); // hidden from sight where there is room for three letters only
    rest.textContent = name.slice(3);
    label.append(name.slice(0, 3), rest);
    track.append(document.createElement("span"));
    this.barList.append(bar);
    return { bar, value };
  }

  update(face) {
    const noGender = notAssessed(face, "gender");
    const noAge = notAssessed(face, "age");
    const noEmotion = notAssessed(face, "emotion");
    setText(this.id, face.trackId === undefined ? "" : `#${face.trackId}`);
    setText(this.gender, noGender ? "person" : face.gender.value === "Female" ? "woman" : "man");
    setText(this.age, noAge ? "" : String(face.age));
    const facts = [];
    if (!noGender) facts.push(`gender ${percent(face.gender.confidence / 100)}`);
    if (typeof face.quality === "number") facts.push(`quality ${percent(face.quality)}`);
    setText(this.facts, facts.join(" · "));

    const missing = [["gender", noGender], ["age", noAge], ["emotion", noEmotion]].filter(([, reason]) => reason);
    this.note.hidden = missing.length === 0;
    setText(this.note, reasons(missing));

    const top = topEmotion(face)?.[0];
    this.barList.hidden = Boolean(noEmotion);
    for (const [name, { bar, value }] of this.bars) {
      const share = face.emotions[name];
      bar.style.setProperty("--share", share.toFixed(3));
      bar.classList.toggle("top", name === top);
      setText(value, percent(share));
    }

    const { yaw, pitch, roll } = face.headPose ?? {};
    this.pose.hidden = typeof yaw !== "number";
    if (!this.pose.hidden) setText(this.pose, `head: yaw ${degrees(yaw)}, pitch ${degrees(pitch)}, roll ${degrees(roll)}`);
  }
}

/** "age, emotion not judged: face too small" */
function reasons(missing) {
  const groups = new Map();
  for (const [name, reason] of missing) groups.set(reason, [...(groups.get(reason) ?? []), name]);
  return [...groups].map(([reason, names]) => `${names.join(", ")} not judged: ${reason}`).join("; ");
}

function degrees(angle) {
  const whole = Math.round(angle) || 0;
  return `${whole < 0 ? "−" : ""}${Math.abs(whole)}°`;
}
