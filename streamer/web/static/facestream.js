/**
 * Faces of a facestreamer server in any web page: `connect` brings its records and goes on when the connection breaks,
 * `drawFaces` draws them on a canvas. No dependency, no page element of its own; the types are in facestream.d.ts.
 */

/** The emotions in the order of the face object, each with its colour. */
export const EMOTIONS = {
  angry: "#d8574d",
  disgust: "#90993c",
  fear: "#9b72dd",
  happy: "#dfa32a",
  sad: "#4c88dc",
  surprise: "#2fb0a6",
  neutral: "#8a97a8",
};

const PACE = {
  minDelay: 500, // milliseconds before a new attempt, doubled for each failure
  maxDelay: 15000,
  openTimeout: 8000, // a connection that is not open by then counts as failed
  steadyAfter: 5000, // a connection that held this long starts the back-off anew
  binaryType: "blob",
};
const REASONS = {
  tooSmall: "face too small",
  profile: "turned away",
  blurred: "picture of the face too blurred",
  noLandmarks: "face hardly visible",
  switchedOff: "switched off",
};
const REMEMBERED = 500; // ended tracks: so many records of a stream the server has at most for one that comes back
const NBSP = "\u00a0";
const FONT = '600 SIZEpx system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';

// ---- connection

/** A websocket that opens again by itself, with exponential back-off and jitter; `url` may be asked before each attempt. */
export function openSocket(url, handlers, options = {}) {
  const setting = { ...PACE, ...options };
  let connection = { state: "connecting", url: null, retryAt: null, attempt: 0, reason: null, code: null };
  let socket = null;
  let timer = 0;
  let openedAt = null;
  let turn = 0; // events of an abandoned attempt carry an older turn and are ignored

  function tell(change) {
    connection = { ...connection, ...change };
    handlers.onConnection?.(connection);
  }

  async function attempt() {
    const mine = ++turn;
    clearTimeout(timer);
    openedAt = null;
    tell({ state: "connecting", retryAt: null });
    timer = setTimeout(() => mine === turn && fail("no answer in time"), setting.openTimeout);
    try {
      const address = typeof url === "function" ? await url() : url;
      if (mine !== turn) return;
      socket = new WebSocket(address);
      connection.url = address.replace(/\?.*$/, ""); // behind it may be a token
    } catch (error) {
      if (mine === turn) fail(error.message);
      return;
    }
    socket.binaryType = setting.binaryType;
    socket.addEventListener("open", () => {
      if (mine !== turn) return;
      clearTimeout(timer);
      openedAt = Date.now();
      tell({ state: "open", reason: null, code: null });
      handlers.onOpen?.();
    });
    socket.addEventListener("message", (event) => mine === turn && handlers.onMessage?.(event.data));
    socket.addEventListener("close", ({ reason, code }) => mine === turn && fail(reason || "connection closed", code));
  }

  function fail(reason, code = null) {
    turn += 1;
    clearTimeout(timer);
    socket?.close();
    socket = null;
    const held = openedAt !== null && Date.now() - openedAt >= setting.steadyAfter;
    const failures = held ? 0 : connection.attempt;
    const limit = Math.min(setting.maxDelay, setting.minDelay * 2 ** failures);
    const pause = limit * (0.5 + Math.random() / 2);
    timer = setTimeout(attempt, pause);
    tell({ state: "waiting", retryAt: Date.now() + pause, attempt: failures + 1, reason, code });
  }

  function retry() {
    if (connection.state === "waiting") attempt();
  }

  const whenVisible = () => document.visibilityState === "visible" && retry();
  globalThis.addEventListener?.("online", retry);
  globalThis.document?.addEventListener("visibilitychange", whenVisible);
  attempt();

  return {
    get connection() {
      return connection;
    },
    send(data) {
      if (socket?.readyState !== 1) return false;
      socket.send(data);
      return true;
    },
    retry,
    /** Drop the present connection, for instance because it has gone silent, and open a new one. */
    restart(reason) {
      if (connection.state === "open") fail(reason);
    },
    close() {
      turn += 1;
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", retry);
      globalThis.document?.removeEventListener("visibilitychange", whenVisible);
      socket?.close();
      socket = null;
      tell({ state: "closed", retryAt: null });
    },
  };
}

/** The records of a server, as they come. After a break it goes on behind the last record that it got of each stream. */
export function connect(url, options = {}) {
  const { token, silence = 20000, onHello, onStatus, onFrame, onTrack, onMissed, onConnection, ...rest } = options;
  let { streams, maxFps, fields, facesOnly, raw, ...pace } = rest;
  const live = new Set();
  const last = new Map(); // stream -> seq of its newest record here
  const ended = new Map(); // stream -> its newest tracks that have ended
  let session = "";
  let heardAt = Date.now();

  async function address() {
    const target = new URL(typeof url === "function" ? await url() : url);
    const secret = typeof token === "function" ? await token() : token;
    const query = { streams: streams?.join(","), maxFps, fields: fields?.join(","), token: secret };
    for (const [key, value] of Object.entries(query)) if (value) target.searchParams.set(key, value);
    if (facesOnly) target.searchParams.set("facesOnly", "1");
    if (raw) target.searchParams.set("raw", "1");
    if (last.size > 0) {
      target.searchParams.set("session", session);
      target.searchParams.set("after", [...last].map(([stream, seq]) => `${stream}:${seq}`).join(","));
    }
    return target.href;
  }

  const take = {
    hello(record) {
      if (record.session !== session) {
        last.clear();
        ended.clear();
      }
      session = record.session;
      onHello?.(record);
    },
    status(record) {
      if (record.state === "live") live.add(record.stream);
      else live.delete(record.stream);
      onStatus?.(record);
    },
    frame(record) {
      if (record.seq <= (last.get(record.stream) ?? -1)) return;
      last.set(record.stream, record.seq);
      onFrame?.(record);
    },
    track(record) {
      const known = ended.get(record.stream) ?? [];
      if (known.includes(record.trackId)) return; // told before a break
      ended.set(record.stream, [...known, record.trackId].slice(-REMEMBERED));
      onTrack?.(record);
    },
    missed: (record) => onMissed?.(record),
  };

  const socket = openSocket(address, {
    onConnection(connection) {
      live.clear();
      heardAt = Date.now();
      onConnection?.(connection);
    },
    onMessage(data) {
      heardAt = Date.now();
      const record = parse(data);
      if (record && Object.hasOwn(take, record.type)) take[record.type](record);
    },
  }, pace);

  // A connection that died without a word (a sleeping laptop, a lost radio link) sends no event.
  const watch = setInterval(() => {
    const quiet = live.size > 0 && !facesOnly && Date.now() - heardAt > silence;
    if (quiet) socket.restart("the server has gone silent");
  }, Math.max(250, silence / 4));

  return {
    get connection() {
      return socket.connection;
    },
    retry: socket.retry,
    /** Ask for other records from now on; what is not named is as by default. */
    subscribe(wanted) {
      ({ streams, maxFps, fields, facesOnly, raw } = wanted);
      live.clear();
      socket.send(JSON.stringify({ subscribe: { streams, maxFps, fields, facesOnly, raw } }));
    },
    close() {
      clearInterval(watch);
      socket.close();
    },
  };
}

/** Read one text message; anything that is not a JSON object is left out. */
function parse(data) {
  try {
    const record = typeof data === "string" ? JSON.parse(data) : null;
    return record !== null && typeof record === "object" ? record : null;
  } catch {
    return null;
  }
}

// ---- words and colours

/** One colour per track, as long as it lives; neighbouring ids differ clearly, and all carry dark text. */
export function trackColor(trackId) {
  if (trackId === undefined) return "hsl(0 0% 82%)";
  const hue = (trackId * 137.508 + 200) % 360;
  return `hsl(${hue.toFixed(1)} 85% ${hue > 225 && hue < 290 ? 76 : 68}%)`;
}

/** Why a value ("age", "gender", "emotion") was not judged, in words; null where it was. */
export function notAssessed(face, value) {
  const entry = face.notAssessed?.find((item) => item.value === value || item.value === `${value}s`);
  if (!entry) return null;
  return REASONS[entry.reason] ?? String(entry.reason ?? "not judged").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** "92 %" of a share 0-1. */
export function percent(share) {
  return `${Math.round(share * 100)}${NBSP}%`;
}

/** "woman 34", as far as it was judged. */
export function person(face) {
  const words = [];
  if (face.gender && !notAssessed(face, "gender")) words.push(face.gender.value === "Female" ? "woman" : "man");
  if (face.age !== undefined && !notAssessed(face, "age")) words.push(String(face.age));
  return words.join(" ");
}

/** The strongest emotion and its share, or null where it was not judged. */
export function topEmotion(face) {
  if (!face.emotions || notAssessed(face, "emotion")) return null;
  let best = "neutral";
  for (const name of Object.keys(EMOTIONS)) if (face.emotions[name] > face.emotions[best]) best = name;
  return [best, face.emotions[best]];
}

// ---- drawing

/** Set the pixels of a canvas to what the screen shows of it; true if that changed them (and so cleared it). */
export function fitCanvas(canvas) {
  if (!canvas.clientWidth) return false; // not on the screen: its size is its owner's
  const ratio = globalThis.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width === width && canvas.height === height) return false;
  Object.assign(canvas, { width, height });
  return true;
}

/**
 * Draw the faces of a frame record or of an answer of `/analyze`, as large as fits, in the middle of the canvas (as
 * `object-fit: contain` does, so that it can lie on a video); with `picture` onto that picture. The record of a frame
 * that was not analysed says nothing of faces, and changes nothing.
 */
export function drawFaces(canvas, record, { picture = null, labels = true, landmarks = true } = {}) {
  if (record.status === "skipped") return;
  fitCanvas(canvas);
  const context = canvas.getContext("2d");
  const { width, height } = record.image ?? canvas;
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const frame = { w: width * scale, h: height * scale, scale };
  frame.x = (canvas.width - frame.w) / 2;
  frame.y = (canvas.height - frame.h) / 2;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (picture) {
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, frame.x, frame.y, frame.w, frame.h);
  }
  const faces = (record.faces ?? []).filter((face) => face.boundingBox);
  const ratio = canvas.clientWidth ? canvas.width / canvas.clientWidth : 1;
  const unit = ratio * Math.min(1.5, Math.max(1, frame.w / ratio / 760)); // thicker on large pictures
  const boxes = faces.map((face) => boxOf(face, frame));
  faces.forEach((face, index) => drawFace(context, face, boxes[index], frame, unit, landmarks));
  if (!labels) return;
  const taken = [];
  faces.forEach((face, index) => {
    const texts = typeof labels === "function" ? [labels(face)].filter(Boolean) : labelsOf(face);
    const others = boxes.filter((_, other) => other !== index);
    drawLabel(context, texts, trackColor(face.trackId), boxes[index], frame, unit * (frame.w / ratio < 320 ? 0.88 : 1), taken, others);
  });
}

function boxOf({ boundingBox: { x, y, w, h } }, { x: left, y: top, scale }) {
  return { x: left + x * scale, y: top + y * scale, w: w * scale, h: h * scale };
}

function drawFace(context, face, box, frame, unit, landmarks) {
  const color = trackColor(face.trackId);
  context.beginPath();
  context.roundRect(box.x, box.y, box.w, box.h, Math.min(6 * unit, box.w / 4));
  context.lineWidth = 4 * unit;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.stroke();
  context.lineWidth = 2 * unit;
  context.strokeStyle = color;
  context.setLineDash(face.heldMs?.place ? [6 * unit, 4 * unit] : []); // where it was, not where it was seen
  context.stroke();
  context.setLineDash([]);
  const dot = Math.min(2.6 * unit, Math.max(1.2 * unit, box.w / 40));
  for (const { x, y } of (landmarks && face.landmarks) || []) {
    context.beginPath();
    context.arc(frame.x + x * frame.scale, frame.y + y * frame.scale, dot, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.lineWidth = unit;
    context.stroke();
    context.fill();
  }
}

/** Label texts of a face from long to short, for the first that fits: `#3 · woman 34 · happy 92 %`. */
function labelsOf(face) {
  const id = face.trackId === undefined ? "" : `#${face.trackId}`;
  const emotion = topEmotion(face);
  const feeling = emotion ? `${emotion[0]} ${percent(emotion[1])}` : "";
  const variants = [[id, person(face), feeling], [id, person(face)], [id]];
  return [...new Set(variants.map((parts) => parts.filter(Boolean).join(" · ")))].filter(Boolean);
}

/** Write the longest label that stays in the picture and covers neither another label nor another face. */
function drawLabel(context, texts, color, box, frame, unit, taken, others) {
  const size = Math.round(12 * unit);
  const h = Math.round(size * 1.55);
  const gap = 4 * unit;
  context.font = FONT.replace("SIZE", String(size));
  context.textBaseline = "middle";
  const spots = texts.flatMap((text) => {
    const w = Math.ceil(context.measureText(text).width + size);
    const x = Math.max(frame.x, Math.min(box.x - unit, frame.x + frame.w - w));
    const rows = [box.y - h - gap, box.y + box.h + gap];
    if (h < box.h / 5) rows.push(box.y + gap); // within a face that fills the picture
    return rows.map((y) => ({ text, x, y, w, h }));
  }).filter((spot) => spot.w <= frame.w && spot.y >= frame.y && spot.y + h <= frame.y + frame.h
    && !taken.some((label) => overlap(spot, label)));
  const chosen = spots.find((spot) => !others.some((other) => overlap(spot, other))) ?? spots.at(-1);
  if (!chosen) return; // in a dense crowd the box and its colour must do
  taken.push(chosen);
  context.beginPath();
  context.roundRect(chosen.x, chosen.y, chosen.w, h, Math.min(5 * unit, h / 3));
  context.fillStyle = color;
  context.fill();
  context.fillStyle = "#10141a";
  context.fillText(chosen.text, chosen.x + size / 2, chosen.y + h / 2 + 0.5 * unit);
}

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
