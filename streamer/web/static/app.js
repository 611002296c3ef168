/**
 * The dashboard page: connections, tiles, totals, what is enlarged, and what is read out.
 */
import { allowAsking, askToken, currentToken, isDeclined, request } from "./access.js";
import { plural, setText } from "./faces.js";
import { connect } from "./facestream.js";
import { chooseLayout, savedOverview, saveOverview } from "./layout.js";
import { manageStreams } from "./manage.js";
import { photoView } from "./photo.js";
import { showPlayer } from "./player.js";
import { openPreview, Pairing } from "./preview.js";
import { replayView } from "./replay.js";
import { Tile } from "./tile.js";
import { currentView, showView, takeFiles } from "./views.js";

const REFRESH = 200; // milliseconds between two updates of words and figures
const LOOK = 5000; // milliseconds between two looks at the server's list of streams
const byId = (id) => document.getElementById(id);
const grid = byId("grid");
const tiles = new Map(); // stream -> Tile
const inSight = new Set(); // streams whose tile is on the screen
const pairing = new Pairing();
const onScreen = new IntersectionObserver(noteSight, { rootMargin: "100px" });
let link = { state: "connecting", url: null, retryAt: null, attempt: 0, reason: null };
let said = false; // whether a hello has told which streams there are
let preview = null;
let pictures = true; // whether the server shows any
let enlarged = null;
let overview = savedOverview();
let news = new Map(); // state changes that wait to be read out

// ---- the server

async function serverInfo() {
  const info = await (await request("/api/info")).json();
  pictures = info.privacy?.pictures ?? true;
  for (const tile of tiles.values()) tile.setPictures(pictures);
  photo.setBlank(!pictures || info.privacy?.blur === true);
  setText(byId("version"), info.version ?? "");
  if (info.replay) showPlayer({ control: info.role === "control" });
  return info;
}

/** An address on this server; the scheme follows the page, so that a secure page stays secure. */
function socketUrl(path, port = location.port) {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.port = port;
  return url.href;
}

// Asked before every attempt: a restarted server may use another port, and may want a token now.
const client = connect(async () => socketUrl("/", (await serverInfo()).websocket.port), {
  token: currentToken,
  onConnection(connection) {
    const was = link.state;
    link = connection;
    if (connection.code === 1008 && /token/i.test(connection.reason)) askToken(currentToken()).then(() => client.retry());
    if (connection.state === "open" || was !== "open") return refresh();
    pairing.clear();
    for (const tile of tiles.values()) tile.setLinked(false);
    announce("server", "Connection to the server lost");
    return refresh();
  },
  onHello(hello) {
    setStreams(hello.streams);
    if (pictures) {
      preview ??= openPreview(previewUrl, pairing, { onPicture, onReset: () => tiles.forEach((tile) => tile.resetPicture()) });
      preview.retry();
    } else {
      preview?.close();
      preview = null;
      tiles.forEach((tile) => tile.resetPicture());
    }
    askForPictures();
    look();
    announce("server", said ? "Connection to the server is back" : `Connected, ${plural(hello.streams.length, "stream")}`);
    said = true;
  },
  onStatus(status) {
    const tile = tileOf(status.stream);
    const back = status.state === "live" && tile.state !== "live";
    tile.setStatus(status);
    if (back) preview?.again(status.stream);
    if (status.state === "ended") look(); // perhaps it was removed
  },
  onFrame(record) {
    pairing.add(record);
    tileOf(record.stream).addRecord(record);
    if (!pictures && record.status === "processed" && inSight.has(record.stream) && document.visibilityState === "visible") {
      const { stream, seq, image } = record;
      onPicture({ stream, seq, ...image, age: 0, bitmap: null, record }); // the faces, on an empty stage
    }
  },
});

async function previewUrl() {
  const url = new URL(socketUrl((await serverInfo()).preview));
  if (currentToken()) url.searchParams.set("token", currentToken());
  return url.href;
}

function onPicture(picture) {
  const tile = tiles.get(picture.stream);
  if (tile) tile.show(picture);
  else picture.bitmap?.close();
}

/** See which streams there are: records tell of new ones, but not of those that are gone. */
async function look() {
  const asked = performance.now();
  if (link.state !== "open" || document.visibilityState !== "visible") return;
  const answer = await request("/api/streams").then((response) => response.json(), () => null);
  if (!answer || link.state !== "open") return;
  for (const [stream, tile] of tiles) if (!(stream in answer.streams) && tile.since < asked) drop(stream);
  for (const [stream, { status }] of Object.entries(answer.streams)) {
    if (status) tileOf(stream).setStatus(status);
  }
  arrange();
}

// ---- the tiles

function tileOf(stream) {
  let tile = tiles.get(stream);
  if (tile) return tile;
  tile = new Tile(stream, { onToggle: toggle, onState: announce, onMenu: manager.openMenu });
  tile.setPictures(pictures);
  tiles.set(stream, tile);
  pairing.expect(stream);
  grid.append(tile.element);
  onScreen.observe(tile.element);
  arrange();
  return tile;
}

function drop(stream) {
  onScreen.unobserve(tiles.get(stream).element);
  tiles.get(stream).remove();
  tiles.delete(stream);
  inSight.delete(stream);
  if (enlarged === stream) location.hash = "";
}

function setStreams(names) {
  for (const stream of tiles.keys()) if (!names.includes(stream)) drop(stream);
  for (const stream of names) {
    tileOf(stream).setLinked(true);
    pairing.expect(stream);
    grid.append(tiles.get(stream).element); // in the order of the server
  }
  arrange();
}

/** Share the window among the tiles, or give it to the enlarged one. */
function arrange() {
  if (currentView() !== "live") return;
  const alone = enlarged !== null && tiles.has(enlarged);
  const count = alone ? 1 : tiles.size;
  const height = window.innerHeight - byId("main").offsetTop - 2 * grid.offsetLeft - 1; // same space on all sides
  const layout = chooseLayout(count, grid.clientWidth, height, alone ? "off" : overview);
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
  byId("overview").setAttribute("aria-pressed", String(layout.list === "bare"));
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
  showView();
  if (currentView() !== "log") replay.pause();
  arrange();
  tiles.get(enlarged ?? before)?.button.focus({ preventScroll: enlarged !== null });
}

// ---- words and totals

function linkWords() {
  if (link.state === "open") return "Connected";
  if (isDeclined()) return "Token needed";
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
  const down = all.filter((tile) => ["stalled", "offline"].includes(tile.state) && !tile.paused).length;
  const title = [open ? "" : linkWords(), down ? `${down} offline` : "", "facestreamer"].filter(Boolean).join(" · ");
  if (document.title !== title) document.title = title;
  refreshEmpty(open);
}

function refreshEmpty(open) {
  const hidden = tiles.size > 0 || (open && !said);
  byId("empty").hidden = hidden;
  if (hidden) return;
  byId("empty-retry").hidden = link.state !== "waiting";
  byId("empty-add").hidden = !open;
  const [title, text] = emptyWords(open);
  setText(byId("empty-title"), title);
  setText(byId("empty-text"), text);
}

function emptyWords(open) {
  if (open) return ["No streams yet", "Add a camera by its address. Streams that are started elsewhere appear here by themselves."];
  if (isDeclined()) return ["The server wants a token", "Ask whoever runs it for one, then retry."];
  if (link.state !== "waiting" && link.attempt === 0) return ["Connecting", "Asking the server for its streams."];
  const where = link.url ? ` at ${link.url}` : "";
  return ["The server cannot be reached", `No answer${where}. Check that the server is running and that its websocket port is open. `
    + "This page connects by itself as soon as it answers."];
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

const manager = manageStreams({
  names: () => [...tiles.keys()],
  changed(words) {
    if (words) announce("server", words);
    look();
  },
});
const photo = photoView({ announce });
const replay = replayView({ announce });
takeFiles({ photo: photo.show, log: replay.show });

function retry() {
  allowAsking();
  client.retry();
}

byId("overview").addEventListener("click", () => {
  overview = grid.dataset.list === "bare" ? "off" : "on";
  saveOverview(overview);
  arrange();
});
document.querySelector(".skip-link").addEventListener("click", (event) => {
  event.preventDefault(); // the address says what is shown, and stays
  byId("main").focus();
});
byId("retry").addEventListener("click", retry);
byId("empty-retry").addEventListener("click", retry);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || enlarged === null || document.querySelector("dialog[open], :popover-open")) return;
  toggle(enlarged);
});
addEventListener("hashchange", readAddress);
addEventListener("resize", arrange);
new ResizeObserver(arrange).observe(document.querySelector(".bar")); // its lines may wrap
document.addEventListener("visibilitychange", askForPictures);
setInterval(refresh, REFRESH);
setInterval(look, LOOK);
refresh();
readAddress();
