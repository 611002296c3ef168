/**
 * How the tiles share the window.
 */

const GAP = 10; // between tiles
const HEAD = 36; // head line of a tile
const TREND = 46; // least height of the time line
const LIST_WIDTH = 190; // least width of a face list beside the picture
const LIST_HEIGHT = 140; // least height of a face list below it
const BESIDE = 0.85; // a list beside the picture reads better, so one below must make the picture clearly larger
const READABLE = 330; // least width of a picture in a tile with a face list
const SMALLEST = 150; // least width of a picture where all are on the screen at once
const NARROW = 400; // least width of a tile where the page scrolls, ...
const NARROWEST = 165; // ... and of one with nothing but its picture

/**
 * @typedef {object} Layout
 * @property {number} columns
 * @property {number} rows
 * @property {boolean} fit all tiles are on the screen at once; otherwise the page scrolls
 * @property {"side"|"below"|"stack"|"bare"} list where a tile has its face list (`stack`: below, in full length)
 */

/**
 * Choose the columns that make the pictures largest.
 * @param {number} count of tiles
 * @param {number} width in CSS pixels
 * @param {number} height
 * @param {"on"|"off"|null} overview pictures only, all on the screen; null: where the faces' cards would have no room
 * @returns {Layout}
 */
export function chooseLayout(count, width, height, overview) {
  const detailed = best(count, width, height, (w, h) => [
    ["side", Math.min(w - Math.max(LIST_WIDTH, Math.min(0.3 * w, 450)), wide(h - HEAD - TREND))],
    ["below", BESIDE * Math.min(w, wide(h - HEAD - TREND - LIST_HEIGHT))],
  ]);
  if (count < 2 || overview === "off" || (overview === null && detailed.picture >= READABLE)) {
    return detailed.picture >= READABLE ? detailed : scrolling(count, width, NARROW, count === 1 ? "stack" : "below");
  }
  const bare = best(count, width, height, (w, h) => [["bare", Math.min(w, wide(h - HEAD))]]);
  if (bare.picture >= SMALLEST) return bare;
  return overview === null && width < 2 * NARROW && count <= 8
    ? scrolling(count, width, NARROW, "below") : scrolling(count, width, NARROWEST, "bare");
}

function best(count, width, height, options) {
  let chosen = { columns: 1, rows: 1, fit: true, list: "side", picture: -1 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const w = (width - GAP * (columns - 1)) / columns;
    const h = (height - GAP * (rows - 1)) / rows;
    for (const [list, picture] of options(w, h)) {
      if (picture > chosen.picture) chosen = { columns, rows, fit: true, list, picture };
    }
  }
  return chosen;
}

function scrolling(count, width, narrow, list) {
  const columns = Math.max(1, Math.min(count, Math.floor((width + GAP) / (narrow + GAP))));
  return { columns, rows: Math.ceil(count / columns), fit: false, list };
}

/** Width of a 16:9 picture of this height. */
function wide(height) {
  return (height * 16) / 9;
}

/** @returns {"on"|"off"|null} whether the viewer chose the overview; a browser may forbid to keep that */
export function savedOverview() {
  try {
    const saved = localStorage.getItem("facestreamer.overview");
    return saved === "on" || saved === "off" ? saved : null;
  } catch {
    return null;
  }
}

/** @param {"on"|"off"} overview */
export function saveOverview(overview) {
  try {
    localStorage.setItem("facestreamer.overview", overview);
  } catch {
    // then the choice holds until the page is closed
  }
}
