/**
 * A log file, read in the browser: only where each record lies is kept, so that it may be larger than the memory.
 */
import { Trend } from "./trend.js";

const LONGEST = 8 << 20; // bytes of a line; what is longer is no record

/** The records of one stream in one session. `times` are seconds: since 1970, or of a file since its beginning. */
export class Part {
  constructor(file, { stream, session }) {
    Object.assign(this, { file, stream, session });
    this.times = [];
    this.places = []; // first byte of each record, then the byte behind it
    this.skipped = 0;
    this.marks = []; // changes of state: {time, at, state, error}
    this.trend = new Trend();
    this.ofFile = false;
  }

  get start() {
    return this.times[0] ?? this.marks[0]?.time ?? 0;
  }

  get end() {
    return Math.max(this.start, this.times.at(-1) ?? 0, this.marks.at(-1)?.time ?? 0);
  }

  /** Place of the newest record at a time; -1 if there is none yet. */
  at(time) {
    let [low, high] = [0, this.times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  async record(index) {
    return JSON.parse(await this.file.slice(this.places[2 * index], this.places[2 * index + 1]).text());
  }

  addFrame(record, from, to) {
    if (record.status === "skipped") {
      this.skipped += 1;
      return;
    }
    this.ofFile = record.time.clock === "file" && record.time.pts !== undefined;
    const time = this.ofFile ? record.time.pts : Date.parse(record.time.captured) / 1000;
    this.times.push(Math.max(time, this.times.at(-1) ?? -Infinity)); // clocks may be set back
    this.places.push(from, to);
    this.trend.add(this.times.at(-1), record.faces);
  }

  addStatus({ at, state, error }) {
    this.marks.push({ at, state, error, behind: this.times.length });
  }

  /** Once all is read: marks of a file have their place among its records, those of a camera their time. */
  finish() {
    for (const mark of this.marks) {
      const beside = this.times[Math.max(0, mark.behind - 1)];
      mark.time = beside === undefined || !this.ofFile ? Date.parse(mark.at) / 1000 : beside;
    }
  }
}

/**
 * @param {File} file
 * @param {(share: number) => void} onProgress
 * @returns {Promise<{parts: Part[], lines: number, bad: number}>} `bad`: lines that are no records
 */
export async function readLog(file, onProgress) {
  const parts = new Map();
  const log = { parts: [], lines: 0, bad: 0 };
  const text = new TextDecoder();

  function takeLine(bytes, from) {
    if (bytes.length === 0) return;
    log.lines += 1;
    const record = parse(text.decode(bytes));
    if (!record) {
      log.bad += 1;
      return;
    }
    if (record.type !== "frame" && record.type !== "status") return;
    const key = JSON.stringify([record.stream, record.session]);
    let part = parts.get(key);
    if (!part) parts.set(key, part = new Part(file, record));
    if (record.type === "frame") part.addFrame(record, from, from + bytes.length);
    else part.addStatus(record);
  }

  let rest = new Uint8Array();
  let start = 0; // of `rest` in the file
  const reader = file.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const data = join(rest, value);
    let from = 0;
    for (let to = data.indexOf(10, rest.length); to >= 0; to = data.indexOf(10, from)) {
      takeLine(data.subarray(from, to), start + from);
      from = to + 1;
    }
    rest = data.slice(from);
    start += from;
    if (rest.length > LONGEST) {
      log.lines += 1;
      log.bad += 1;
      start += rest.length; // what is left of the line counts as another one
      rest = new Uint8Array();
    }
    onProgress(start / file.size);
  }
  takeLine(rest, start);
  log.parts = [...parts.values()];
  for (const part of log.parts) part.finish();
  return log;
}

function join(first, second) {
  if (first.length === 0) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** One record, or null for what is none. */
function parse(line) {
  try {
    const record = JSON.parse(line);
    return isRecord(record) ? record : null;
  } catch {
    return null;
  }
}

function isRecord(record) {
  if (record?.type === "status") return typeof record.stream === "string" && !Number.isNaN(Date.parse(record.at));
  if (record?.type !== "frame") return typeof record?.type === "string";
  return typeof record.stream === "string" && record.image?.width > 0 && record.image.height > 0
    && !Number.isNaN(Date.parse(record.time?.captured)) && Array.isArray(record.faces)
    && record.faces.every((face) => face?.boundingBox && face.emotions && face.gender && face.landmarks);
}
