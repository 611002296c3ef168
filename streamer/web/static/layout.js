/**
 * How the tiles share the window.
 */

const GAP = 12; // between tiles
const HEAD = 40; // head line of a tile
const LIST_WIDTH = 190; // least width of a face list beside the picture
const LIST_HEIGHT = 150; // least height of a face list below it
const BESIDE = 0.85; // a list beside the picture reads better, so one below must make the picture clearly larger
const READABLE = 340; // least width of a picture in a tile with a face list
const NARROW = 400; // least width of a tile where the page scrolls

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
 * @param {boolean} overview pictures only, all on the screen
 * @returns {Layout}
 */
export function chooseLayout(count, width, height, overview) {
  let best = null;
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const w = (width - GAP * (columns - 1)) / columns;
    const h = (height - GAP * (rows - 1)) / rows;
    const options = overview
      ? [["bare", Math.min(w, wide(h - HEAD))]]
      : [
        ["side", Math.min(w - Math.max(LIST_WIDTH, Math.min(0.3 * w, 450)), wide(h - HEAD))],
        ["below", BESIDE * Math.min(w, wide(h - HEAD - LIST_HEIGHT))],
      ];
    for (const [list, picture] of options) {
      if (best === null || picture > best.picture) best = { columns, rows, fit: true, list, picture };
    }
  }
  if (best !== null && (overview || best.picture >= READABLE)) return best;
  const columns = Math.max(1, Math.min(count, Math.floor((width + GAP) / (NARROW + GAP))));
  return { columns, rows: Math.ceil(count / columns), fit: false, list: count === 1 ? "stack" : "below" };
}

/** Width of a 16:9 picture of this height. */
function wide(height) {
  return (height * 16) / 9;
}

/** @returns {boolean} whether the viewer chose the overview; a browser may forbid to keep that */
export function savedOverview() {
  try {
    return localStorage.getItem("facestreamer.overview") === "on";
  } catch {
    return false;
  }
}

/** @param {boolean} on */
export function saveOverview(on) {
  try {
    localStorage.setItem("facestreamer.overview", on ? "on" : "off");
  } catch {
    // then the choice holds until the page is closed
  }
}
