/**
 * Drawing of a picture with its faces on a canvas, and the words and colours used for faces everywhere.
 */

/** The emotions in the order of the face object. */
export const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

const NBSP = "\u00a0";
const REASONS = {
  tooSmall: "face too small",
  profile: "turned away",
  blurred: "picture of the face too blurred",
  noLandmarks: "face hardly visible",
};
const FONT = '600 SIZEpx system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';

/**
 * One colour per track, the same for as long as the track lives; neighbouring ids differ clearly.
 * @param {number|undefined} trackId
 * @returns {string} a CSS colour, light enough to carry dark text
 */
export function trackColor(trackId) {
  if (trackId === undefined) return "hsl(0 0% 82%)";
  const hue = (trackId * 137.508 + 200) % 360;
  return `hsl(${hue.toFixed(1)} 85% ${hue > 225 && hue < 290 ? 76 : 68}%)`;
}

/** @param {object} face @param {string} value @returns {string|null} why a value was not judged, in words */
export function notAssessed(face, value) {
  const entry = face.notAssessed?.find((item) => item.value === value || item.value === `${value}s`);
  if (!entry) return null;
  return REASONS[entry.reason] ?? String(entry.reason ?? "not judged").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** @param {number} share 0-1 @returns {string} such as "92 %" */
export function percent(share) {
  return `${Math.round(share * 100)}${NBSP}%`;
}

/** @param {object} face @returns {string} such as "woman 34", as far as it was judged */
export function person(face) {
  const words = [];
  if (!notAssessed(face, "gender")) words.push(face.gender.value === "Female" ? "woman" : "man");
  if (!notAssessed(face, "age")) words.push(String(face.age));
  return words.join(" ");
}

/** @param {object} face @returns {[string, number]|null} the strongest emotion and its share */
export function topEmotion(face) {
  if (notAssessed(face, "emotion")) return null;
  let best = "neutral";
  for (const name of EMOTIONS) if (face.emotions[name] > face.emotions[best]) best = name;
  return [best, face.emotions[best]];
}

/** Label texts of a face from long to short, for the first that fits: `#3 · woman 34 · happy 92 %`. */
function labels(face) {
  const id = face.trackId === undefined ? "" : `#${face.trackId}`;
  const emotion = topEmotion(face);
  const feeling = emotion ? `${emotion[0]} ${percent(emotion[1])}` : "";
  const variants = [[id, person(face), feeling], [id, person(face)], [id]];
  return [...new Set(variants.map((parts) => parts.filter(Boolean).join(" · ")))].filter(Boolean);
}

/**
 * Set the pixels of a canvas to what the screen shows of it.
 * @param {HTMLCanvasElement} canvas
 * @returns {boolean} whether the size changed, which also cleared the canvas
 */
export function sizeCanvas(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width === width && canvas.height === height) return false;
  canvas.width = width;
  canvas.height = height;
  return true;
}

/**
 * Draw a picture and the faces of exactly that picture.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./preview.js").Picture} picture
 * @param {boolean} [overlay] false for the bare picture
 */
export function drawPicture(canvas, picture, overlay = true) {
  const context = canvas.getContext("2d");
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const frame = {
    w: picture.width * scale,
    h: picture.height * scale,
    x: (canvas.width - picture.width * scale) / 2,
    y: (canvas.height - picture.height * scale) / 2,
  };
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.bitmap, frame.x, frame.y, frame.w, frame.h);
  const faces = overlay && picture.record?.status === "processed" ? picture.record.faces : [];
  const ratio = window.devicePixelRatio || 1;
  const unit = ratio * Math.min(1.5, Math.max(1, frame.w / ratio / 760)); // thicker on large pictures
  for (const face of faces) drawFace(context, face, frame, scale, unit);
  const boxes = faces.map((face) => boxOf(face, frame, scale));
  const taken = [];
  faces.forEach((face, index) => {
    const others = boxes.filter((_, other) => other !== index);
    drawLabel(context, face, boxes[index], frame, unit * (frame.w / ratio < 320 ? 0.88 : 1), taken, others);
  });
}

function boxOf(face, frame, scale) {
  const { x, y, w, h } = face.boundingBox;
  return { x: frame.x + x * scale, y: frame.y + y * scale, w: w * scale, h: h * scale };
}

function drawFace(context, face, frame, scale, unit) {
  const color = trackColor(face.trackId);
  const box = boxOf(face, frame, scale);
  const radius = Math.min(6 * unit, box.w / 4);
  context.beginPath();
  context.roundRect(box.x, box.y, box.w, box.h, radius);
  context.lineWidth = 4 * unit;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.stroke();
  context.lineWidth = 2 * unit;
  context.strokeStyle = color;
  context.stroke();

  const dot = Math.min(2.6 * unit, Math.max(1.2 * unit, box.w / 40));
  for (const { x, y } of face.landmarks) {
    context.beginPath();
    context.arc(frame.x + x * scale, frame.y + y * scale, dot, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.lineWidth = unit;
    context.stroke();
    context.fill();
  }
}

/** Write the longest label that stays in the picture and covers neither another label nor another face. */
function drawLabel(context, face, box, frame, unit, taken, others) {
  const texts = labels(face);
  if (texts.length === 0) return;
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
  context.fillStyle = trackColor(face.trackId);
  context.fill();
  context.fillStyle = "#10141a";
  context.fillText(chosen.text, chosen.x + size / 2, chosen.y + h / 2 + 0.5 * unit);
}

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
