/**
 * The replay of a log: its faces on a blank stage, as they moved.
 */
import { FaceList, plural, sentences, setText } from "./faces.js";
import { drawFaces } from "./facestream.js";
import { readLog } from "./logfile.js";
import { drawTrend } from "./trend.js";

const MARK_COLORS = { live: "#3fae78", connecting: "#5a95d8", stalled: "#d89b3a", offline: "#d8574d", ended: "#8a97a8" };
const byId = (id) => document.getElementById(id);

/** @param {{announce: (subject: string, words: string) => void}} page */
export function replayView({ announce }) {
  const canvas = byId("log-canvas");
  const slider = byId("log-slider");
  const list = new FaceList(byId("log-faces"));
  let log = null;
  let part = null;
  let now = 0; // where in the part, in its seconds
  let shown = { index: -1, record: null };
  let wanted = -1;
  let playing = false;
  let turn = 0;

  function draw() {
    const faces = shown.record?.faces ?? [];
    drawFaces(canvas, shown.record ?? { faces: [] });
    list.update(faces, part?.times.length ? "No face at this time" : "No analysed frame in this part");
    canvas.setAttribute("aria-label", `${plural(faces.length, "face")} at ${timeWords(now)}`);
  }

  /** Show the record at the present time; the newest wish wins while one is read. */
  async function seek() {
    wanted = part.at(now);
    slider.value = String(now - part.start);
    slider.setAttribute("aria-valuetext", timeWords(now));
    setText(byId("log-time"), timeWords(now));
    if (seek.busy) return;
    seek.busy = true;
    while (wanted !== shown.index) {
      const [index, of] = [wanted, part];
      const record = index < 0 ? null : await of.record(index).catch(() => null);
      if (of !== part) continue;
      shown = { index, record };
      if (record) canvas.parentElement.style.setProperty("--aspect", (record.image.width / record.image.height).toFixed(4));
      draw();
    }
    seek.busy = false;
  }

  function play(on) {
    if (on === playing || !part) return;
    playing = on;
    byId("log-play").setAttribute("aria-label", on ? "Pause" : "Play");
    byId("log-play").classList.toggle("playing", on);
    if (!on) return;
    if (now >= part.end) now = part.start;
    let before = performance.now();
    const step = (at) => {
      if (!playing) return;
      now = Math.min(part.end, now + (Math.max(0, at - before) / 1000) * Number(byId("log-speed").value));
      before = at;
      seek();
      if (now >= part.end) play(false);
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  function timeWords(time) {
    if (part?.ofFile) return clockWords(time - part.start);
    const date = new Date(time * 1000);
    return `${date.toLocaleDateString()} ${date.toLocaleTimeString()}`;
  }

  function choose(next) {
    play(false);
    part = next;
    shown = { index: -2, record: null };
    now = part.times[0] ?? part.start;
    slider.max = String(part.end - part.start);
    drawAxis();
    byId("log-marks").replaceChildren(...part.marks.map(markItem));
    seek();
  }

  function drawAxis() {
    if (!part) return;
    const marks = part.marks.map(({ time, state }) => ({ time, color: MARK_COLORS[state] ?? MARK_COLORS.ended }));
    drawTrend(byId("log-trend"), part.trend, part.start, Math.max(part.end, part.start + 1),
      { marks, labels: [timeWords(part.start), timeWords(part.end)] });
    byId("log-trend").setAttribute("aria-label", `The whole time: ${part.trend.words(part.start, part.end + 1)}`);
  }

  function markItem(mark) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "mark";
    button.style.setProperty("--tone", MARK_COLORS[mark.state] ?? MARK_COLORS.ended);
    const words = [timeWords(mark.time), mark.state, mark.error?.message].filter(Boolean);
    button.textContent = words.join(" · ");
    button.addEventListener("click", () => {
      now = mark.time;
      seek();
    });
    item.append(button);
    return item;
  }

  function tell(title = "", text = "") {
    byId("log-message").hidden = !title;
    setText(byId("log-title"), title);
    setText(byId("log-text"), text);
  }

  async function show(file) {
    const mine = ++turn;
    play(false);
    byId("log-result").hidden = byId("log-drop").hidden = true;
    tell(`Reading ${file.name}`);
    try {
      const read = await readLog(file, (share) => mine === turn && setText(byId("log-text"), `${Math.round(share * 100)} %`));
      if (mine !== turn) return;
      if (read.parts.length === 0) throw new Error("there is no record in it");
      log = read;
    } catch (error) {
      byId("log-drop").hidden = false;
      tell(`${file.name} cannot be replayed`, sentences(error.message, "choose a .jsonl file as streamer run --log writes it"));
      announce("Log", `${file.name}: ${error.message}`);
      return;
    }
    tell();
    byId("log-result").hidden = false;
    byId("log-part").replaceChildren(...log.parts.map((each, index) => new Option(partWords(each), String(index))));
    byId("log-part").parentElement.hidden = log.parts.length < 2;
    const bad = log.bad ? `, ${plural(log.bad, "unreadable line")} left out` : "";
    setText(byId("log-facts"), `${file.name}: ${plural(log.lines - log.bad, "record")}${bad}`);
    announce("Log", byId("log-facts").textContent);
    choose(log.parts[0]);
  }

  byId("log-part").addEventListener("change", (event) => choose(log.parts[Number(event.target.value)]));
  byId("log-play").addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => {
    now = part.start + Number(slider.value);
    seek();
  });
  const resizing = new ResizeObserver(() => {
    draw();
    drawAxis();
  });
  resizing.observe(canvas);
  resizing.observe(byId("log-trend"));
  return { show, pause: () => play(false) };
}

function partWords({ stream, marks, times, skipped }) {
  const began = marks[0] ? `, ${new Date(marks[0].at).toLocaleString()}` : "";
  return `${stream}${began} (${plural(times.length, "frame")}${skipped ? `, ${skipped} not analysed` : ""})`;
}

/** 65.25 as "1:05.3" */
function clockWords(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}
