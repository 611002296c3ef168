/**
 * Live pictures, and the pairing of each picture with the record of exactly that frame.
 */
import { openSocket } from "./facestream.js";

/**
 * The newest frame records of each stream, by `seq`. A picture that is ahead of its record waits for it:
 * the arriving record ends the wait, and so does a newer analysed one (those come in order, so the wanted one was left out).
 */
export class Pairing {
  /** @param {{keep?: number, wait?: number}} [options] records kept per stream; longest wait in milliseconds */
  constructor({ keep = 100, wait = 800 } = {}) {
    this.keep = keep;
    this.wait = wait;
    this.streams = new Map();
  }

  /** @param {object} record a frame record of the websocket */
  add(record) {
    let entry = this.streams.get(record.stream);
    if (!entry || entry.session !== record.session) {
      // A new session numbers its frames anew. Pictures that wait may belong to it, so they go on waiting.
      entry = { session: record.session, newest: -1, records: new Map(), waiting: entry?.waiting ?? new Set() };
      this.streams.set(record.stream, entry);
    }
    entry.records.set(record.seq, record);
    if (record.status !== "skipped") entry.newest = Math.max(entry.newest, record.seq);
    if (entry.records.size > this.keep) entry.records.delete(entry.records.keys().next().value);
    for (const waiter of [...entry.waiting]) waiter.check(entry);
  }

  /**
   * The record of one frame.
   * @param {{stream: string, seq: number, session?: string}} header of a picture
   * @returns {Promise<object|null>} null where that record did not come in time
   */
  find(header) {
    const entry = this.streams.get(header.stream);
    if (!entry) return Promise.resolve(null);
    return new Promise((resolve) => {
      let timer = 0;
      const waiter = {
        end(record) {
          clearTimeout(timer);
          entry.waiting.delete(waiter);
          resolve(record);
        },
        check({ session, records, newest }) {
          if (header.session !== undefined && header.session !== session) return;
          const record = records.get(header.seq);
          if (record) waiter.end(record);
          else if (newest > header.seq) waiter.end(null);
        },
      };
      entry.waiting.add(waiter);
      timer = setTimeout(() => waiter.end(null), this.wait);
      waiter.check(entry);
    });
  }

  /** Make a stream known, so that a picture that is there before the first record waits for it. */
  expect(stream) {
    if (this.streams.has(stream)) return;
    this.streams.set(stream, { session: null, newest: -1, records: new Map(), waiting: new Set() });
  }

  /** Forget all records, as the connection that brought them is gone. */
  clear() {
    const old = [...this.streams.values()];
    this.streams.clear();
    for (const entry of old) for (const waiter of [...entry.waiting]) waiter.end(null);
  }
}

/**
 * @typedef {object} Picture
 * @property {string} stream
 * @property {number} seq
 * @property {number} width of the source, as the boxes are measured
 * @property {number} height
 * @property {number} age milliseconds since it was taken, as far as the server said
 * @property {ImageBitmap} bitmap owned by the receiver, who closes it
 * @property {object|null} record the frame record of exactly this picture
 */

/**
 * Fetch pictures: one request per stream is under way at a time, and the next is sent after the last was drawn.
 *
 * @param {string} url of the preview websocket
 * @param {Pairing} pairing
 * @param {{onPicture: (picture: Picture) => void, onReset?: () => void}} handlers `onReset`: a new connection,
 *   so the numbering may have begun anew
 * @returns {{show(wanted: Map<string, number>): void, again(stream: string): void, retry(): void, close(): void}}
 */
export function openPreview(url, pairing, { onPicture, onReset }) {
  let wanted = new Map(); // stream -> width in device pixels
  let asked = new Map(); // requests the server has not answered, with their widths
  let busy = new Set(); // streams whose picture is being decoded or waits for its record
  let turn = 0;
  const outbox = new Map();

  function ask(stream) {
    if (!wanted.has(stream) || busy.has(stream)) return;
    if (outbox.size === 0) queueMicrotask(flush);
    outbox.set(stream, wanted.get(stream));
  }

  function flush() {
    if (socket.send(JSON.stringify({ want: Object.fromEntries(outbox) }))) {
      for (const [stream, width] of outbox) asked.set(stream, width);
    }
    outbox.clear();
  }

  async function receive(buffer) {
    const mine = turn;
    let header;
    let jpeg;
    try {
      [header, jpeg] = unpack(buffer);
    } catch (error) {
      socket.restart(`unreadable picture: ${error.message}`);
      return;
    }
    const { stream } = header;
    asked.delete(stream);
    if (!wanted.has(stream) || busy.has(stream)) return;
    busy.add(stream);
    try {
      const [bitmap, record] = await Promise.all([createImageBitmap(jpeg), pairing.find(header)]);
      if (mine !== turn || !wanted.has(stream)) bitmap.close();
      else onPicture({ ...header, age: header.ageMs ?? 0, bitmap, record });
    } catch (error) {
      console.warn(`picture ${header.seq} of ${stream} could not be shown:`, error);
    } finally {
      if (mine === turn) {
        busy.delete(stream);
        ask(stream);
      }
    }
  }

  const socket = openSocket(url, {
    onOpen() {
      turn += 1;
      asked = new Map();
      busy = new Set();
      onReset?.();
      for (const stream of wanted.keys()) ask(stream);
    },
    onMessage: (data) => data instanceof ArrayBuffer && receive(data),
  }, { binaryType: "arraybuffer" });

  return {
    show(next) {
      wanted = new Map(next);
      for (const [stream, width] of wanted) if (asked.get(stream) !== width) ask(stream);
    },
    /** Repeat the request of a stream, which may have come back after the server dropped the last one. */
    again: (stream) => ask(stream),
    retry: socket.retry,
    close: socket.close,
  };
}

/** Split a binary message: length of the header (4 bytes, big-endian), header (JSON), JPEG. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [header, new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" })];
}
