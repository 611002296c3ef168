/**
 * One stream on the page: state in words, figures, live picture with overlay, time line, faces.
 */
import { FaceList, plural, setText } from "./faces.js";
import { drawFaces, fitCanvas } from "./facestream.js";
import { drawTrend, Trend } from "./trend.js";

const STATES = {
  waiting: "Waiting",
  connecting: "Connecting",
  live: "Live",
  stalled: "Stalled",
  offline: "Offline",
  paused: "Paused",
  ended: "Ended",
  unlinked: "Not connected",
};
const MESSAGES = {
  connecting: "Connecting to the camera",
  stalled: "The camera has stopped sending pictures",
  offline: "The camera is offline",
  ended: "The stream has ended",
  unlinked: "No connection to the server",
};
/** Why frames are not analysed, in words. */
export const SKIPPED = {
  superseded: "overtaken by a newer one",
  stale: "too old",
  overload: "machine too busy",
  corrupt: "damaged",
  fps: "over the limit of frames a second",
  keyframesOnly: "not a key picture",
};
const FRESH = 2000; // a picture or result older than this is no longer shown as live ...
const SLOWEST = 15000; // ... or, for a stream of few frames, two and a half times their largest distance, up to this
const WINDOW = 3000; // over which frames a second are measured
const REMEMBERED = 180; // seconds that the time line shows once there are so many, ...
const AT_LEAST = 30; // ... and at first

export class Tile {
  /**
   * @param {string} stream
   * @param {{onToggle: (stream: string) => void, onMenu: (tile: Tile) => void,
   *   onState: (stream: string, words: string) => void}} handlers
   */
  constructor(stream, { onToggle, onMenu, onState }) {
    this.stream = stream;
    this.onState = onState;
    this.since = performance.now();
    this.element = document.getElementById("tile-template").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.canvas = this.element.querySelector(".stage canvas");
    this.trendCanvas = this.element.querySelector(".trend canvas");
    this.button = this.part("enlarge");
    this.menuButton = this.part("more");
    this.faceList = new FaceList(this.part("faces"));
    this.part("tile-name").textContent = stream;
    this.part("tile-name").title = stream;
    this.element.setAttribute("aria-label", stream);
    this.menuButton.setAttribute("aria-label", `Actions for ${stream}`);
    this.button.addEventListener("click", () => onToggle(stream));
    this.part("stage").addEventListener("click", () => onToggle(stream));
    this.menuButton.addEventListener("click", () => onMenu(this));
    this.part("faces").setAttribute("aria-label", `Faces of ${stream}`);

    this.session = null;
    this.state = "waiting";
    this.error = null;
    this.linked = true;
    this.trend = new Trend();
    this.trendAt = -Infinity; // when the time line was drawn
    this.clear();
    this.pictures = true; // whether the server shows any
    this.picture = null;
    this.pictureAt = null;
    this.stale = true;
    this.setEnlarged(false);
    this.resizing = new ResizeObserver(() => {
      if (fitCanvas(this.canvas)) this.draw();
      this.trendAt = -Infinity;
    });
    this.resizing.observe(this.canvas);
    this.resizing.observe(this.trendCanvas);
  }

  clear() {
    this.statusAt = "";
    this.record = null; // newest analysed record
    this.recordAt = -Infinity;
    this.arrivals = []; // [time, seq] of analysed records within WINDOW
    this.skipped = new Map(); // reason -> frames, since this page is connected
  }

  /** Width in device pixels in which pictures are useful. */
  get pixels() {
    return this.canvas.width;
  }

  get paused() {
    return this.error?.code === "paused";
  }

  /** Faces in sight now: none as soon as the records are not current. */
  get faces() {
    return this.isCurrent(performance.now()) ? this.record.faces : [];
  }

  isCurrent(now) {
    return this.linked && this.state === "live" && now - this.recordAt < this.patience;
  }

  /** Milliseconds for which the last picture or result still counts as live. */
  get patience() {
    const gaps = this.arrivals.slice(1).map(([at], index) => at - this.arrivals[index][0]);
    return Math.min(SLOWEST, Math.max(FRESH, 2.5 * Math.max(0, ...gaps)));
  }

  /** @param {object} status a status record; one that is older than the last changes nothing */
  setStatus(status) {
    this.startSession(status.session);
    if (status.at < this.statusAt) return;
    this.statusAt = status.at;
    this.setState(status.state, status.error ?? null);
  }

  /** @param {boolean} linked whether the record websocket is open; without it no state is known */
  setLinked(linked) {
    this.linked = linked;
    if (!linked) this.setState("waiting", null, true);
  }

  setState(state, error, silent = this.state === "waiting" && state === "live") {
    const changed = state !== this.state || error?.code !== this.error?.code;
    this.state = state;
    this.error = error;
    if (changed && !silent) this.onState(this.stream, [STATES[state] ?? state, error?.message].filter(Boolean).join(": "));
  }

  startSession(session) {
    if (session === undefined || session === this.session) return;
    this.session = session;
    this.clear();
  }

  /** @param {object} record a frame record */
  addRecord(record) {
    this.startSession(record.session);
    if (this.state === "waiting") this.setState("live", null);
    if (record.status === "skipped") {
      this.skipped.set(record.reason, (this.skipped.get(record.reason) ?? 0) + 1);
      return; // the faces of the last analysed frame stay
    }
    if (this.record && record.seq <= this.record.seq) return;
    this.record = record;
    this.recordAt = performance.now();
    this.arrivals.push([this.recordAt, record.seq]);
    this.trend.add(timeOf(record), record.faces);
  }

  /** @param {boolean} on whether the server shows pictures; if not, faces are drawn on an empty stage */
  setPictures(on) {
    this.pictures = on;
    if (on || !this.picture?.bitmap) return;
    this.picture.bitmap.close();
    this.picture.bitmap = null;
    this.draw();
  }

  /** A new preview connection: its numbering may have begun anew. */
  resetPicture() {
    if (this.picture) this.picture.seq = -1;
  }

  /** @param {import("./preview.js").Picture} picture drawn if it is newer than the one shown */
  show(picture) {
    const now = performance.now();
    const analysed = picture.record?.status === "processed";
    const recent = this.picture?.record?.status === "processed" && now - this.pictureAt < 1000;
    // While analysed pictures come, one without faces in between would only make the boxes flicker.
    if (picture.seq <= (this.picture?.seq ?? -1) || (!analysed && recent)) {
      picture.bitmap?.close();
      return;
    }
    this.picture?.bitmap?.close();
    this.picture = picture;
    this.pictureAt = now - picture.age;
    this.stale = !this.isLivePicture(now);
    this.element.style.setProperty("--aspect", (picture.width / picture.height).toFixed(4));
    this.draw();
  }

  /** Boxes say where faces are, so a picture of the past is drawn without. */
  draw() {
    if (!this.picture) return;
    const { bitmap, record, seq, width, height } = this.picture;
    const faces = !this.stale && record?.status === "processed" ? record.faces : [];
    drawFaces(this.canvas, { image: { width, height }, faces }, { picture: bitmap });
    this.canvas.dataset.seq = seq;
  }

  /** @param {boolean} on */
  setEnlarged(on) {
    this.element.classList.toggle("enlarged", on);
    this.button.setAttribute("aria-label", on ? "Back to all streams" : `Enlarge ${this.stream}`);
    this.button.title = on ? "Back to all streams (Escape)" : "Enlarge";
  }

  /** Bring all words and figures up to date; called a few times a second. @param {number} now */
  refresh(now) {
    const state = !this.linked ? "unlinked" : this.paused ? "paused" : this.state;
    this.element.dataset.state = state;
    setText(this.part("state-text"), STATES[state] ?? state);
    this.refreshFigures(now);
    this.refreshTrend(now);
    const stale = !this.isLivePicture(now);
    if (stale !== this.stale) {
      this.stale = stale;
      this.draw();
    }
    this.element.classList.toggle("stale", stale);
    this.refreshNotice(now, state, stale);
    const bare = !stale && this.picture.record?.status !== "processed";
    const badge = bare ? badgeText(this.picture.record) : stale || this.pictures ? "" : "Pictures are switched off";
    this.part("badge").hidden = !badge;
    setText(this.part("badge"), badge);
    const current = this.isCurrent(now);
    const { faces } = this;
    this.faceList.update(faces, current ? "No face in sight" : "No current results");
    this.canvas.setAttribute("aria-label", stale ? `${this.stream}: no live picture`
      : `Live ${this.pictures ? "picture" : "faces"} of ${this.stream}, ${plural(faces.length, "face")}`);
  }

  isLivePicture(now) {
    return this.linked && this.state === "live" && this.pictureAt !== null && now - this.pictureAt < this.patience;
  }

  refreshFigures(now) {
    while (this.arrivals.length > 3 && now - this.arrivals[0][0] > WINDOW) this.arrivals.shift();
    const current = this.isCurrent(now);
    const [first, last] = [this.arrivals[0], this.arrivals.at(-1)];
    const span = this.arrivals.length > 1 ? last[0] - first[0] : 0;
    const rate = (steps) => ((steps * 1000) / span).toFixed(1);
    const [analysed, delivered] = current && span > 0 ? [rate(this.arrivals.length - 1), rate(last[1] - first[1])] : ["–", "–"];
    const age = current ? this.record.time.ageMs : null;
    setText(this.part("analysed"), analysed);
    setText(this.part("delivered"), analysed === delivered ? "" : `of ${delivered} `);
    setText(this.part("age"), age === null ? "–" : String(Math.round(age)));
    this.part("figure-age").classList.toggle("warn", age > 1000);
    const count = [...this.skipped.values()].reduce((sum, n) => sum + n, 0);
    setText(this.part("skipped"), count.toLocaleString("en"));
    this.part("figure-skipped").title = `frames not analysed since this page is connected\n${skippedWords(this.skipped)}`;
  }

  refreshTrend(now) {
    if (now - this.trendAt < 1000 || !this.trendCanvas.clientWidth) return;
    this.trendAt = now;
    const newest = this.record ? timeOf(this.record) + Math.max(0, now - this.recordAt) / 1000 : Date.now() / 1000;
    const to = Math.floor(newest) + 1;
    this.trend.keepOnly(to - REMEMBERED - 1, to);
    const first = this.trend.bins.keys().next().value ?? to;
    const length = Math.min(REMEMBERED, Math.max(AT_LEAST, to - first));
    drawTrend(this.trendCanvas, this.trend, to - length, to, { labels: [`${duration(length * 1000)} ago`, "now"] });
    this.trendCanvas.setAttribute("aria-label", `Last ${duration(length * 1000)} of ${this.stream}: ${this.trend.words(to - length, to)}`);
  }

  refreshNotice(now, state, stale) {
    this.part("notice").hidden = !stale;
    if (!stale) return;
    const seen = this.pictureAt !== null;
    const waiting = seen ? "No new results arrive" : `Waiting for the first ${this.pictures ? "picture" : "result"}`;
    setText(this.part("notice-title"), this.error?.message ?? MESSAGES[state] ?? waiting);
    setText(this.part("notice-hint"), this.error?.hint ?? this.whyNothing(state));
    setText(this.part("notice-since"), seen ? `no picture since ${duration(now - this.pictureAt)}` : "");
  }

  /** Why a live stream has no results, as far as its last frames tell. */
  whyNothing(state) {
    const [reason] = [...this.skipped.keys()].slice(-1);
    return state === "live" && reason ? `frames are passed over: ${SKIPPED[reason] ?? reason}` : "";
  }

  /** Leave the page. */
  remove() {
    this.resizing.disconnect();
    this.picture?.bitmap?.close();
    this.element.remove();
  }
}

/** Seconds on the axis of the time line: the capture's, but a file that is played in a loop has none that goes on. */
function timeOf(record) {
  const captured = record.time.clock === "file" ? NaN : Date.parse(record.time.captured);
  return (Number.isNaN(captured) ? Date.now() : captured) / 1000;
}

/** @param {Map<string, number>} skipped @returns {string} "3 damaged, 20 overtaken by a newer one" */
export function skippedWords(skipped) {
  return [...skipped].map(([reason, count]) => `${count} ${SKIPPED[reason] ?? reason}`).join(", ");
}

function badgeText(record) {
  if (!record) return "picture without result";
  return record.reason ? `not analysed: ${SKIPPED[record.reason] ?? record.reason}` : "not analysed";
}

function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 100) return `${seconds}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes}\u00a0min` : `${Math.round(minutes / 60)}\u00a0h`;
}
