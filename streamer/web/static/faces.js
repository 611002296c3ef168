/**
 * The cards of the faces that are in sight, and texts that change in place.
 */
import { EMOTIONS, notAssessed, percent, topEmotion, trackColor } from "./facestream.js";

const OLD = 250; // milliseconds from which a value that is held counts as old
const RADIUS = 13; // of the little head
const OFF = "switched off"; // as `notAssessed` says it

/** Set a text only where it changed, so that nothing is laid out or read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** "1 face", "2 faces" */
export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** The server's words as sentences, without those that are empty. */
export function sentences(...parts) {
  return parts.filter(Boolean).map((words) => words[0].toUpperCase() + words.slice(1).replace(/[.]?$/, ".")).join(" ");
}

export class FaceList {
  /**
   * @param {HTMLElement} section the element of class `faces` of a tile or a view
   * @param {{certainty?: boolean}} [options] whether to say how certain it is that each is a face
   */
  constructor(section, { certainty = false } = {}) {
    this.certainty = certainty;
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
      if (!card) this.cards.set(key, card = new FaceCard(face, this.certainty));
      if (card.element === before) before = before.nextElementSibling;
      else this.list.insertBefore(card.element, before);
      card.update(face);
    }
    this.nothing.hidden = faces.length > 0;
    setText(this.nothing, nothing);
  }
}

class FaceCard {
  constructor(face, certainty) {
    this.certainty = certainty;
    const template = document.getElementById("face-template");
    this.element = template.content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.barList = this.part("bars");
    this.bars = new Map(Object.keys(EMOTIONS).map((name) => [name, this.addBar(name)]));
    this.element.style.setProperty("--track", trackColor(face.trackId));
  }

  addBar(name) {
    const bar = document.createElement("li");
    bar.className = "bar-row";
    bar.style.setProperty("--emotion", EMOTIONS[name]);
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
    setText(this.part("face-id"), face.trackId === undefined ? "" : `#${face.trackId}`);
    setText(this.part("face-gender"), noGender ? "person" : face.gender.value === "Female" ? "woman" : "man");
    setText(this.part("face-age"), noAge ? "" : String(face.age));
    setText(this.part("face-facts"), facts(face, noGender, this.certainty));
    const missing = [["gender", noGender], ["age", noAge], ["emotion", noEmotion]].filter(([, reason]) => reason);
    const notes = reasons(missing);
    this.part("face-note").hidden = notes.length === 0;
    setText(this.part("face-note"), notes.join("; "));
    this.element.classList.toggle("held", (face.heldMs?.looks ?? 0) > OLD);
    const top = topEmotion(face)?.[0];
    this.barList.hidden = Boolean(noEmotion);
    for (const [name, { bar, value }] of this.bars) {
      const share = face.emotions[name];
      bar.style.setProperty("--share", share.toFixed(3));
      bar.classList.toggle("top", name === top);
      setText(value, percent(share));
    }
    this.updatePose(face.headPose);
  }

  /** A ball with its meridian, equator and nose, turned as the head is. */
  updatePose(pose) {
    const element = this.part("face-pose");
    element.toggleAttribute("hidden", !pose);
    if (!pose) return;
    const [x, y] = [RADIUS * sine(pose.yaw), -RADIUS * sine(pose.pitch)];
    element.querySelector(".turn").setAttribute("transform", `rotate(${pose.roll.toFixed(1)})`);
    element.querySelector(".lines").setAttribute("d",
      `M0 ${-RADIUS}Q${(2 * x).toFixed(1)} 0 0 ${RADIUS}M${-RADIUS} 0Q0 ${(2 * y).toFixed(1)} ${RADIUS} 0`);
    element.querySelector(".nose").setAttribute("cx", x.toFixed(1));
    element.querySelector(".nose").setAttribute("cy", y.toFixed(1));
    const words = `Head: ${poseWords(pose)}`;
    if (element.getAttribute("aria-label") !== words) element.setAttribute("aria-label", words);
    setText(element.querySelector("title"), words);
  }
}

function sine(degrees) {
  return Math.sin((Math.max(-85, Math.min(85, degrees)) * Math.PI) / 180);
}

function facts(face, noGender, certainty) {
  const words = heldWords(face);
  if (certainty) words.push(`certainty ${percent(face.faceConfidence)}`);
  if (typeof face.quality === "number") words.push(`quality ${percent(face.quality)}`);
  if (!noGender) words.push(`gender ${percent(face.gender.confidence / 100)}`);
  return words.join(" · ");
}

/** "age, emotion not judged: face too small", "gender switched off" */
function reasons(missing) {
  const groups = new Map();
  for (const [name, reason] of missing) groups.set(reason, [...(groups.get(reason) ?? []), name]);
  return [...groups].map(([reason, names]) => (reason === OFF ? `${names.join(", ")} ${OFF}` : `${names.join(", ")} not judged: ${reason}`));
}

function heldWords({ heldMs: { place = 0, looks = 0 } = {} }) {
  const words = [];
  if (place > OLD) words.push(`last seen ${seconds(place)} ago`);
  else if (looks > OLD) words.push(`${seconds(looks)} old`);
  return words;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)}\u00a0s`;
}

function poseWords({ yaw, pitch, roll }) {
  const words = [];
  const say = (angle, more, less) => {
    if (Math.abs(angle) >= 3) words.push(`${Math.abs(Math.round(angle))}° ${angle > 0 ? more : less}`);
  };
  say(yaw, "to the right", "to the left");
  say(pitch, "up", "down");
  say(roll, "tilted clockwise", "tilted anticlockwise");
  return words.length ? words.join(", ") : "straight";
}
