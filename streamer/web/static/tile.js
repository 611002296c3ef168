/**
 * One stream on the page: state in words, figures, live picture with overlay, faces.
 */
import { FaceList, setText } from "./facelist.js";
import { drawPicture, sizeCanvas } from "./overlay.js";

const STATES = {
  waiting: "Waiting",
  connecting: "Connecting",
  live: "Live",
  stalled: "Stalled",
  offline: "Offline",
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
const FRESH = 2000; // a picture or result older than this is no longer shown as live ...
const SLOWEST = 15000; // ... or, for a stream of few frames, three times their distance, up to this
const WINDOW = 3000; // over which frames a second are measured

export class Tile {
  /**
   * @param {string} stream
   * @param {{onToggle: (stream: string) => void, onState: (stream: string, words: string) => void}} handlers
   */
  constructor(stream, { onToggle, onState }) {
    this.stream = stream;
    this.onState = onState;
    this.element = document.getElementById("tile-template").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.canvas = this.element.querySelector("canvas");
    this.button = this.part("enlarge");
    this.faceList = new FaceList(this.part("faces"));
    this.badge = this.part("badge");
    this.notice = this.part("notice");
    this.part("tile-name").textContent = stream;
    this.part("tile-name").title = stream;
    this.element.setAttribute("aria-label", stream);
    this.button.addEventListener("click", () => onToggle(stream));
    this.part("stage").addEventListener("click", () => onToggle(stream));
    this.part("faces").setAttribute("aria-label", `Faces of ${stream}`);

    this.session = null;
    this.state = "waiting";
    this.error = null;
    this.linked = true;
    this.record = null; // newest analysed record
    this.recordAt = -Infinity;
    this.arrivals = []; // [time, seq] of analysed records within WINDOW
    this.dropped = 0;
    this.skipped = 0; // since the last analysed record; that one may count the same frames in `dropped`
    this.picture = null;
    this.pictureAt = null;
    this.stale = true;
    this.setEnlarged(false);
    this.resizing = new ResizeObserver(() => {
      if (sizeCanvas(this.canvas)) this.draw();
    });
    this.resizing.observe(this.canvas);
  }

  /** Width in device pixels in which pictures are useful. */
  get pixels() {
    return this.canvas.width;
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
    const [first, last] = [this.arrivals[0], this.arrivals.at(-1)];
    const distance = this.arrivals.length > 1 ? (last[0] - first[0]) / (this.arrivals.length - 1) : 0;
    return Math.min(SLOWEST, Math.max(FRESH, 3 * distance));
  }

  /** @param {object} status a status record */
  setStatus(status) {
    this.startSession(status.session);
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
    this.arrivals = [];
    this.record = null;
    this.recordAt = -Infinity;
    this.dropped = this.skipped = 0;
  }

  /** @param {object} record a frame record */
  addRecord(record) {
    this.startSession(record.session);
    if (this.state === "waiting") this.setState("live", null);
    if (record.status === "skipped") {
      this.skipped += 1; // the faces of the last analysed frame stay
      return;
    }
    if (this.record && record.seq <= this.record.seq) return;
    this.record = record;
    this.recordAt = performance.now();
    this.arrivals.push([this.recordAt, record.seq]);
    this.dropped += Math.max(record.dropped ?? 0, this.skipped);
    this.skipped = 0;
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
      picture.bitmap.close();
      return;
    }
    this.picture?.bitmap.close();
    this.picture = picture;
    this.pictureAt = now - picture.age;
    this.stale = !this.isLivePicture(now);
    sizeCanvas(this.canvas);
    this.draw();
  }

  /** Boxes say where faces are, so a picture of the past is drawn without. */
  draw() {
    if (!this.picture) return;
    drawPicture(this.canvas, this.picture, !this.stale);
    this.canvas.dataset.seq = this.picture.seq;
  }

  /** @param {boolean} on */
  setEnlarged(on) {
    this.element.classList.toggle("enlarged", on);
    this.button.setAttribute("aria-label", on ? "Back to all streams" : `Enlarge ${this.stream}`);
    this.button.title = on ? "Back to all streams (Escape)" : "Enlarge";
  }

  /** Bring all words and figures up to date; called a few times a second. @param {number} now */
  refresh(now) {
    const state = this.linked ? this.state : "unlinked";
    this.element.dataset.state = state;
    setText(this.part("state-text"), STATES[state] ?? state);
    this.refreshFigures(now);
    const stale = !this.isLivePicture(now);
    if (stale !== this.stale) {
      this.stale = stale;
      this.draw();
    }
    this.element.classList.toggle("stale", stale);
    this.refreshNotice(now, state, stale);
    const bare = !stale && this.picture.record?.status !== "processed";
    this.badge.hidden = !bare;
    if (bare) setText(this.badge, badgeText(this.picture.record));
    const current = this.isCurrent(now);
    const { faces } = this;
    this.faceList.update(faces, current ? "No face in sight" : "No current results");
    this.canvas.setAttribute("aria-label", stale ? `${this.stream}: no live picture`
      : `Live picture of ${this.stream}, ${faces.length} ${faces.length === 1 ? "face" : "faces"}`);
  }

  isLivePicture(now) {
    return this.linked && this.state === "live" && this.pictureAt !== null && now - this.pictureAt < this.patience;
  }

  refreshFigures(now) {
    while (this.arrivals.length > 3 && now - this.arrivals[0][0] > WINDOW) this.arrivals.shift();
    const current = this.isCurrent(now);
    const first = this.arrivals[0];
    const last = this.arrivals.at(-1);
    const span = this.arrivals.length > 1 ? last[0] - first[0] : 0;
    const rate = (steps) => ((steps * 1000) / span).toFixed(1);
    const age = this.record?.time?.ageMs;
    setText(this.part("fps"), current && span > 0 ? rate(this.arrivals.length - 1) : "–");
    setText(this.part("age"), current && typeof age === "number" ? String(Math.round(age)) : "–");
    setText(this.part("dropped"), (this.dropped + this.skipped).toLocaleString("en"));
    this.part("figure-age").classList.toggle("warn", current && age > 1000);
    this.part("figure-fps").title = current && span > 0
      ? `${rate(this.arrivals.length - 1)} analysed of ${rate(last[1] - first[1])} delivered frames a second` : "";
    this.part("figure-age").title = "from the capture to the published result";
    this.part("figure-dropped").title = "frames not analysed since this page is connected";
  }

  refreshNotice(now, state, stale) {
    this.notice.hidden = !stale;
    if (!stale) return;
    const seen = this.pictureAt !== null;
    const waiting = seen ? "" : "Waiting for the first picture";
    setText(this.part("notice-title"), this.error?.message ?? MESSAGES[state] ?? waiting);
    setText(this.part("notice-hint"), this.error?.hint ?? "");
    setText(this.part("notice-since"), seen ? `no picture since ${duration(now - this.pictureAt)}` : "");
  }

  /** Leave the page. */
  remove() {
    this.resizing.disconnect();
    this.picture?.bitmap.close();
    this.element.remove();
  }
}

function badgeText(record) {
  if (!record) return "picture without result";
  return record.reason ? `not analysed: ${String(record.reason).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase()}` : "not analysed";
}

function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 100) return `${seconds}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes}\u00a0min` : `${Math.round(minutes / 60)}\u00a0h`;
}
