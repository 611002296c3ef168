/**
 * Emotions and number of faces over time, and their picture on a canvas.
 */
import { EMOTIONS, fitCanvas, notAssessed, percent } from "./facestream.js";

const NAMES = Object.keys(EMOTIONS);
const JUDGED = NAMES.length; // place of each count behind the sums of the shares
const SEEN = JUDGED + 1;
const RECORDS = JUDGED + 2;
const LARGE = 100; // CSS pixels of height from which there is room for words

/** Sums of every second, so that hours of a stream stay small. */
export class Trend {
  constructor() {
    this.bins = new Map();
  }

  /** @param {number} time seconds @param {object[]} faces of one analysed frame */
  add(time, faces) {
    const second = Math.floor(time);
    let bin = this.bins.get(second);
    if (!bin) this.bins.set(second, bin = new Float64Array(RECORDS + 1));
    bin[RECORDS] += 1;
    for (const face of faces) {
      bin[SEEN] += 1;
      if (notAssessed(face, "emotion")) continue;
      bin[JUDGED] += 1;
      NAMES.forEach((name, index) => bin[index] += face.emotions[name]);
    }
  }

  /** Forget everything else; a clock that was set may have left seconds of the future, too. */
  keepOnly(from, to) {
    for (const second of this.bins.keys()) if (second < from || second > to) this.bins.delete(second);
  }

  /** The sums from one second up to another, or null if nothing was analysed then. */
  sum(from, to) {
    let total = null;
    const take = (bin) => {
      if (total) total.forEach((value, index) => total[index] = value + bin[index]);
      else total = bin.slice();
    };
    if (to - from > this.bins.size) { // mostly holes
      for (const [second, bin] of this.bins) if (second >= Math.floor(from) && second < to) take(bin);
      return total;
    }
    for (let second = Math.floor(from); second < to; second += 1) {
      const bin = this.bins.get(second);
      if (bin) take(bin);
    }
    return total;
  }

  /** In words, for those who do not see the picture. */
  words(from, to) {
    const total = this.sum(from, to);
    if (!total) return "nothing analysed";
    if (!total[SEEN]) return "no faces";
    const faces = `${(total[SEEN] / total[RECORDS]).toFixed(1)} faces on average`;
    if (!total[JUDGED]) return `${faces}, emotions not judged`;
    const shares = NAMES.map((name, index) => [name, total[index] / total[JUDGED]]).sort((a, b) => b[1] - a[1]);
    return `${faces}, ${shares.slice(0, 2).map(([name, share]) => `${name} ${percent(share)}`).join(", ")}`;
  }
}

/**
 * Draw the time from `from` to `to` (seconds): the number of faces above, the shares of the emotions below.
 * @param {HTMLCanvasElement} canvas its CSS colour is that of lines and words
 * @param {Trend} trend
 * @param {{marks?: {time: number, color: string}[], labels?: string[]}} [options] `labels`: of the start and the end
 */
export function drawTrend(canvas, trend, from, to, { marks = [], labels = [] } = {}) {
  if (!canvas.clientWidth) return;
  fitCanvas(canvas);
  const context = canvas.getContext("2d");
  const ratio = canvas.width / canvas.clientWidth;
  const ink = getComputedStyle(canvas).color;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const large = height >= LARGE;
  const foot = large ? 18 : 0;
  const top = Math.round(Math.max(12, (height - foot) * 0.26));
  const columns = columnsOf(trend, from, to, width);
  drawCounts(context, columns, { width, top, ink, large });
  drawShares(context, columns, top + 3, height - foot);
  for (const mark of marks) {
    context.fillStyle = mark.color;
    context.fillRect(place(mark.time, from, to, width) - 1, 0, 2, height - foot);
  }
  if (large) drawFoot(context, { width, height, ink, labels });
}

function place(time, from, to, width) {
  return ((time - from) / Math.max(1e-9, to - from)) * width;
}

function columnsOf(trend, from, to, width) {
  const step = Math.max(1, Math.ceil((to - from) / (width / 2))); // seconds a column
  const columns = [];
  for (let second = Math.floor(from / step) * step; second < to; second += step) {
    const [left, right] = [place(second, from, to, width), place(second + step, from, to, width)].map(Math.round);
    columns.push({ x: left, w: right - left, total: trend.sum(second, second + step) });
  }
  return columns;
}

function drawCounts(context, columns, { width, top, ink, large }) {
  const counts = columns.map(({ total }) => (total ? total[SEEN] / total[RECORDS] : 0));
  const most = Math.max(1, ...counts);
  context.fillStyle = ink;
  context.globalAlpha = 0.3;
  columns.forEach(({ x, w, total }, index) => {
    const h = total ? Math.max(1, ((top - 3) * counts[index]) / most) : 0;
    context.fillRect(x, top - h, w, h);
  });
  context.globalAlpha = 0.25;
  context.fillRect(0, top, width, 1);
  context.globalAlpha = 1;
  if (!large) return;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "top";
  const text = `faces, up to ${Math.round(most)}`;
  context.fillText(text, 4, 3);
}

/** Areas in soft colours, each with a clear upper edge, so that one that fills everything does not shout. */
function drawShares(context, columns, top, bottom) {
  for (const { x, w, total } of columns) {
    if (!total?.[JUDGED]) continue;
    let y = bottom;
    NAMES.forEach((name, index) => {
      const part = ((bottom - top) * total[index]) / total[JUDGED];
      y -= part;
      context.fillStyle = EMOTIONS[name];
      context.globalAlpha = 0.4;
      context.fillRect(x, y, w, part);
      context.globalAlpha = 1;
      if (part > 1) context.fillRect(x, y, w, Math.min(2, part / 2));
    });
  }
}

function drawFoot(context, { width, height, ink, labels: [start = "", end = ""] }) {
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "alphabetic";
  const y = height - 5;
  context.fillStyle = ink;
  context.fillText(start, 2, y);
  const endAt = width - context.measureText(end).width - 2;
  context.fillText(end, endAt, y);
  const legend = NAMES.map((name) => [name, context.measureText(name).width + 22]);
  const whole = legend.reduce((sum, [, w]) => sum + w, 0);
  let x = (width - whole) / 2;
  if (x < context.measureText(start).width + 12) return;
  for (const [name, w] of legend) {
    context.fillStyle = EMOTIONS[name];
    context.fillRect(x, y - 8, 8, 8);
    context.fillStyle = ink;
    context.fillText(name, x + 12, y);
    x += w;
  }
}
