/**
 * The bar of `streamer log replay`: where the server is in its log, and buttons to stop, seek and change the speed.
 */
import { request } from "./access.js";
import { setText } from "./faces.js";

const LOOK = 500; // milliseconds between two questions where the server is
const byId = (id) => document.getElementById(id);
let shown = false;
let held = false; // while somebody drags the slider it stays where it is

/** Shows the bar; who may not `control` can only look. */
export function showPlayer({ control }) {
  if (shown) return;
  shown = true;
  byId("player").hidden = false;
  const slider = byId("player-slider");
  for (const id of ["player-play", "player-slider", "player-speed"]) byId(id).disabled = !control;
  byId("player-play").addEventListener("click", () => send({ playing: !byId("player-play").classList.contains("playing") }));
  byId("player-speed").addEventListener("change", (event) => send({ speed: Number(event.target.value) }));
  slider.addEventListener("input", () => {
    held = true;
    showTime(Number(slider.value));
  });
  slider.addEventListener("change", () => {
    held = false;
    send({ position: new Date(Number(slider.value) * 1000).toISOString() });
  });
  look();
}

async function look() {
  if (document.visibilityState === "visible") show(await request("/api/replay").then((r) => r.json(), () => null));
  setTimeout(look, LOOK);
}

async function send(wish) {
  const body = JSON.stringify(wish);
  const headers = { "Content-Type": "application/json" };
  show(await request("/api/replay", { method: "POST", body, headers }).then((r) => r.json(), () => null));
}

function show(replay) {
  if (!replay?.position) return;
  const [position, start, end] = [replay.position, replay.start, replay.end].map((text) => Date.parse(text) / 1000);
  const play = byId("player-play");
  play.classList.toggle("playing", replay.playing);
  play.setAttribute("aria-label", replay.playing ? "Pause" : "Play");
  const speed = byId("player-speed");
  if (document.activeElement !== speed) {
    if (![...speed.options].some((option) => Number(option.value) === replay.speed)) speed.add(new Option(replay.speed));
    speed.value = String(replay.speed);
  }
  if (held) return;
  Object.assign(byId("player-slider"), { min: start, max: end, value: position });
  showTime(position);
}

function showTime(seconds) {
  const date = new Date(seconds * 1000);
  const words = `${date.toLocaleDateString()} ${date.toLocaleTimeString()}`;
  setText(byId("player-time"), words);
  byId("player-slider").setAttribute("aria-valuetext", words);
}
