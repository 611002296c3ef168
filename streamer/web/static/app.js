/**
 * The dashboard page: connections, tiles, totals, what is enlarged, and what is read out.
 */
import { connect } from "./client.js";
import { setText } from "./facelist.js";
import { chooseLayout, savedOverview, saveOverview } from "./layout.js";
import { openPreview, Pairing } from "./preview.js";
import { Tile } from "./tile.js";

const REFRESH = 200; // milliseconds between two updates of words and figures
const byId = (id) => document.getElementById(id);
const grid = byId("grid");
const tiles = new Map(); // stream -> Tile
const inSight = new Set(); // streams whose tile is on the screen
const pairing = new Pairing();
const onScreen = new IntersectionObserver(noteSight, { rootMargin: "100px" });
let link = { state: "connecting", url: null, retryAt: null, attempt: 0, reason: null };
let said = false; // whether a hello has told which streams there are
let preview = null;
let enlarged = null;
let overview = savedOverview();
let news = new Map(); // state changes that wait to be read out

// ---- the server

async function serverInfo() {
  const response = await fetch("/api/info", { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const info = await response.json();
  setText(byId("version"), info.version ?? "");
  return info;
}

/** An address on this server; the scheme follows the page, so that a secure page stays secure. */
function socketUrl(path, port = location.port) {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.port = port;
  return url.href;
}

// Asked before every attempt: a restarted server may use another port.
const client = connect(async () => socketUrl("/", (await serverInfo()).websocket.port), {
  onConnection(connection) {
    const was = link.state;
    link = connection;
    if (connection.state === "open" || was !== "open") return refresh();
    pairing.clear();
    for (const tile of tiles.values()) tile.setLinked(false);
    announce("server", "Connection to the server lost");
    return refresh();
  },
  onHello(hello) {
    const names = hello.streams.map((item) => (typeof item === "string" ? item : item.name));
    setStreams(names);
    preview ??= openPreview(previewUrl, pairing, { onPicture, onReset: () => tiles.forEach((tile) => tile.resetPicture()) });
    preview.retry();
    askForPictures();
    announce("server", said ? "Connection to the server is back" : `Connected, ${plural(names.length, "stream")}`);
    said = true;
  },
  onStatus(status) {
    const tile = tileOf(status.stream);
    const back = status.state === "live" && tile.state !== "live";
    tile.setStatus(status);
    if (back) preview?.again(status.stream);
  },
  onFrame(record) {
    pairing.add(record);
    tileOf(record.stream).addRecord(record);
  },
});

async function previewUrl() {
  return socketUrl((await serverInfo()).preview);
}

function onPicture(picture) {
  const tile = tiles.get(picture.stream);
  if (tile) tile.show(picture);
  else picture.bitmap.close();
}

// ---- the tiles

function tileOf(stream) {
  let tile = tiles.get(stream);
  if (tile) return tile;
  tile = new Tile(stream, { onToggle: toggle, onState: announce });
  tiles.set(stream, tile);
  pairing.expect(stream);
  grid.append(tile.element);
  onScreen.observe(tile.element);
  arrange();
  return tile;
}

function setStreams(names) {
  for (const [stream, tile] of tiles) {
    if (names.includes(stream)) continue;
    onScreen.unobserve(tile.element);
    tile.remove();
    tiles.delete(stream);
    inSight.delete(stream);
  }
  for (const stream of names) {
    tileOf(stream).setLinked(true);
    pairing.expect(stream);
    grid.append(tiles.get(stream).element); // in the order of the server
  }
  arrange();
}

/** Share the window among the tiles, or give it to the enlarged one. */
function arrange() {
  const alone = enlarged !== null && tiles.has(enlarged);
  const count = alone ? 1 : tiles.size;
  const height = window.innerHeight - byId("streams").offsetTop - 2 * grid.offsetLeft - 1; // same space on all sides
  const layout = chooseLayout(count, grid.clientWidth, height, overview && !alone);
  grid.dataset.list = layout.list;
  grid.classList.toggle("fit", layout.fit);
  grid.style.setProperty("--height", `${height}px`);
  grid.style.setProperty("--columns", layout.columns);
  grid.style.setProperty("--rows", layout.rows);
  for (const [stream, tile] of tiles) {
    tile.setEnlarged(alone && stream === enlarged);
    tile.element.hidden = alone && stream !== enlarged;
    tile.button.hidden = tiles.size === 1 && !alone; // there is nothing to enlarge it over
  }
  byId("overview").hidden = alone || tiles.size < 2;
  byId("overview").setAttribute("aria-pressed", String(overview));
  askForPictures();
}

function noteSight(entries) {
  for (const { target, isIntersecting } of entries) {
    for (const [stream, tile] of tiles) {
      if (tile.element !== target) continue;
      if (isIntersecting) inSight.add(stream);
      else inSight.delete(stream);
    }
  }
  askForPictures();
}

/** Pictures are wanted for what is on the screen, in the size in which it is there. */
function askForPictures() {
  const wanted = new Map();
  if (document.visibilityState === "visible") {
    for (const stream of inSight) if (tiles.has(stream)) wanted.set(stream, tiles.get(stream).pixels);
  }
  preview?.show(wanted);
}

// ---- enlarging: kept in the address, so that the browser's back button and bookmarks work

function toggle(stream) {
  if (stream !== enlarged && tiles.size === 1) return;
  if (stream !== enlarged) location.hash = `stream=${encodeURIComponent(stream)}`;
  else if (history.state?.opened) history.back();
  else location.hash = "";
}

function readAddress() {
  const match = /^#stream=(.+)$/.exec(location.hash);
  const before = enlarged;
  enlarged = match ? decodeURIComponent(match[1]) : null;
  if (enlarged !== null && before === null && said) history.replaceState({ opened: true }, "");
  arrange();
  tiles.get(enlarged ?? before)?.button.focus({ preventScroll: enlarged !== null });
}

// ---- words and totals

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function linkWords() {
  if (link.state === "open") return "Connected";
  if (link.state === "connecting") return link.attempt > 0 ? "Reconnecting" : "Connecting";
  return `Reconnecting in ${Math.max(1, Math.ceil((link.retryAt - Date.now()) / 1000))}\u00a0s`;
}

function refresh() {
  const now = performance.now();
  const all = [...tiles.values()];
  for (const tile of all) tile.refresh(now);
  const open = link.state === "open";
  byId("link").dataset.state = link.state;
  setText(byId("link-text"), linkWords());
  byId("retry").hidden = link.state !== "waiting" || all.length === 0;
  const faces = all.reduce((sum, tile) => sum + tile.faces.length, 0);
  const live = all.filter((tile) => tile.state === "live").length;
  setText(byId("total-faces"), open ? String(faces) : "–");
  setText(byId("total-live"), open ? `${live} of ${all.length}` : "–");
  refreshEmpty(open);
}

function refreshEmpty(open) {
  const hidden = tiles.size > 0 || (open && !said);
  byId("empty").hidden = hidden;
  if (hidden) return;
  const lost = link.state === "waiting" || link.attempt > 0;
  byId("empty-retry").hidden = link.state !== "waiting";
  if (open) {
    setText(byId("empty-title"), "No streams yet");
    setText(byId("empty-text"), "The server is running and has no stream. As soon as it has one, it appears here by itself.");
  } else if (lost) {
    setText(byId("empty-title"), "The server cannot be reached");
    const where = link.url ? ` at ${link.url}` : "";
    setText(byId("empty-text"), `No answer${where}. Check that the server is running and that its websocket port is open. `
      + `This page connects by itself as soon as it answers.`);
  } else {
    setText(byId("empty-title"), "Connecting");
    setText(byId("empty-text"), "Asking the server for its streams.");
  }
}

/** Read out a state change; several at once are read as one message. */
function announce(subject, words) {
  if (news.size === 0) {
    setTimeout(() => {
      setText(byId("announcer"), [...news].map(([name, text]) => (name === "server" ? text : `${name}: ${text}`)).join(". "));
      news = new Map();
    }, 700);
  }
  news.set(subject, words);
}

// ---- events

byId("overview").addEventListener("click", () => {
  overview = !overview;
  saveOverview(overview);
  arrange();
});
byId("retry").addEventListener("click", () => client.retry());
byId("empty-retry").addEventListener("click", () => client.retry());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && enlarged !== null) toggle(enlarged);
});
addEventListener("hashchange", readAddress);
addEventListener("resize", arrange);
new ResizeObserver(arrange).observe(document.querySelector(".bar")); // its lines may wrap
document.addEventListener("visibilitychange", askForPictures);
setInterval(refresh, REFRESH);
refresh();
readAddress();
