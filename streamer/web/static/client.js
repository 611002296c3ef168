/**
 * Records of a facestreamer server in a browser: `connect(url, {onFrame, onStatus})`.
 * No dependency and no page element is touched here, so that any page can use this module.
 */

/**
 * @typedef {object} Connection what `onConnection` is told
 * @property {"connecting"|"open"|"waiting"|"closed"} state `waiting`: a new attempt is planned at `retryAt`
 * @property {string|null} url the address of this attempt
 * @property {number|null} retryAt time of the next attempt, in `Date.now()` milliseconds
 * @property {number} attempt failed attempts since the last connection that held
 * @property {string|null} reason why the last connection ended
 */

const DEFAULTS = {
  minDelay: 500, // first pause before a new attempt, doubled for each failure
  maxDelay: 15000,
  openTimeout: 8000, // a connection that is not open by then counts as failed
  steadyAfter: 5000, // a connection that held this long starts the backoff anew
  binaryType: "blob",
};

/**
 * A websocket that opens again by itself, with exponential backoff and jitter.
 *
 * @param {string|(() => string|Promise<string>)} url the address, or a function asked before each attempt
 * @param {{onOpen?: Function, onMessage?: (data: any) => void, onConnection?: (c: Connection) => void}} handlers
 * @param {Partial<typeof DEFAULTS>} [options]
 * @returns {{send(data: any): boolean, retry(): void, restart(reason: string): void, close(): void,
 *   connection: Connection}}
 */
export function openSocket(url, handlers, options = {}) {
  const setting = { ...DEFAULTS, ...options };
  /** @type {Connection} */
  let connection = { state: "connecting", url: null, retryAt: null, attempt: 0, reason: null };
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
      connection.url = address;
      socket = new WebSocket(address);
    } catch (error) {
      if (mine === turn) fail(error.message);
      return;
    }
    socket.binaryType = setting.binaryType;
    socket.addEventListener("open", () => {
      if (mine !== turn) return;
      clearTimeout(timer);
      openedAt = Date.now();
      tell({ state: "open", reason: null });
      handlers.onOpen?.();
    });
    socket.addEventListener("message", (event) => mine === turn && handlers.onMessage?.(event.data));
    socket.addEventListener("close", (event) => mine === turn && fail(event.reason || "connection closed"));
  }

  function fail(reason) {
    turn += 1;
    clearTimeout(timer);
    socket?.close();
    socket = null;
    const held = openedAt !== null && Date.now() - openedAt >= setting.steadyAfter;
    const failures = held ? 0 : connection.attempt;
    const limit = Math.min(setting.maxDelay, setting.minDelay * 2 ** failures);
    const pause = limit * (0.5 + Math.random() / 2);
    timer = setTimeout(attempt, pause);
    tell({ state: "waiting", retryAt: Date.now() + pause, attempt: failures + 1, reason });
  }

  function retry() {
    if (connection.state === "waiting") attempt();
  }

  const whenVisible = () => document.visibilityState === "visible" && retry();
  addEventListener("online", retry);
  document.addEventListener("visibilitychange", whenVisible);
  attempt();

  return {
    get connection() {
      return connection;
    },
    send(data) {
      if (socket?.readyState !== WebSocket.OPEN) return false;
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
      removeEventListener("online", retry);
      document.removeEventListener("visibilitychange", whenVisible);
      socket?.close();
      socket = null;
      tell({ state: "closed", retryAt: null });
    },
  };
}

/**
 * Receive the records of a facestreamer server, and go on receiving them when the connection breaks.
 *
 * @param {string|(() => string|Promise<string>)} url address of the record websocket
 * @param {object} handlers
 * @param {(record: object) => void} [handlers.onHello] first record of every connection
 * @param {(record: object) => void} [handlers.onStatus] a stream changed its state
 * @param {(record: object) => void} [handlers.onFrame] one frame, processed or skipped
 * @param {(connection: Connection) => void} [handlers.onConnection] the connection itself changed
 * @param {object} [options] also takes the settings of `openSocket`
 * @param {string[]} [options.streams] only records of these streams
 * @param {number} [options.silence] reconnect when a live stream sent nothing for so many milliseconds
 * @returns {{retry(): void, close(): void, connection: Connection}}
 */
export function connect(url, handlers, { streams, silence = 20000, ...options } = {}) {
  const live = new Set();
  let heardAt = Date.now();

  const socket = openSocket(url, {
    onConnection(connection) {
      live.clear();
      heardAt = Date.now();
      handlers.onConnection?.(connection);
    },
    onMessage(data) {
      heardAt = Date.now();
      const record = parse(data);
      if (!record || (streams && record.stream && !streams.includes(record.stream))) return;
      if (record.type === "frame") {
        handlers.onFrame?.(record);
      } else if (record.type === "status") {
        if (record.state === "live") live.add(record.stream);
        else live.delete(record.stream);
        handlers.onStatus?.(record);
      } else if (record.type === "hello") {
        handlers.onHello?.(record);
      }
    },
  }, options);

  // A connection that died without a word (a sleeping laptop, a lost radio link) sends no event.
  const watch = setInterval(() => {
    if (live.size > 0 && Date.now() - heardAt > silence) socket.restart("the server has gone silent");
  }, Math.max(250, silence / 4));

  return {
    get connection() {
      return socket.connection;
    },
    retry: socket.retry,
    close() {
      clearInterval(watch);
      socket.close();
    },
  };
}

/** Read one text message; anything that is not a JSON object is left out. */
function parse(data) {
  if (typeof data !== "string") return null;
  try {
    const record = JSON.parse(data);
    return record !== null && typeof record === "object" ? record : null;
  } catch {
    return null;
  }
}
