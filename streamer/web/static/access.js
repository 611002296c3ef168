/**
 * Requests to the server: with the token if it wants one, and with its errors in words.
 */

const KEY = "facestreamer.token";
const byId = (id) => document.getElementById(id);
let token = read();
let asking = null; // one question at a time, whoever needs the answer
let declined = false;

/** What the server says is wrong. */
export class ServerError extends Error {
  constructor(status, { code = "error", message = `the server answered ${status}`, hint = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

export const currentToken = () => token;

/** @returns {Promise<Response>} of what went well. Raises ServerError, and TypeError where nobody answers. */
export async function request(path, options = {}) {
  for (;;) {
    const used = token;
    const headers = used ? { ...options.headers, Authorization: `Bearer ${used}` } : options.headers;
    const response = await fetch(path, { cache: "no-store", ...options, headers });
    if (response.ok) return response;
    const answer = await response.json().catch(() => ({}));
    const error = new ServerError(response.status, answer.error);
    if (response.status !== 401 || !(await askToken(used))) throw error;
  }
}

/**
 * Let the viewer name a token, once for all who ask meanwhile.
 * @param {string} refused the token that was not accepted; empty if there was none
 * @returns {Promise<boolean>} whether there is another one now
 */
export function askToken(refused) {
  if (token !== refused) return Promise.resolve(true); // meanwhile named
  if (declined) return Promise.resolve(false);
  asking ??= ask(refused).finally(() => asking = null);
  return asking;
}

/** Ask again although the viewer did not want to say it before. */
export function allowAsking() {
  declined = false;
}

export const isDeclined = () => declined;

function ask(refused) {
  const dialog = byId("token-dialog");
  const input = byId("token");
  byId("token-error").hidden = !refused;
  input.value = "";
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const named = dialog.returnValue === "ok" ? input.value.trim() : "";
      declined = !named;
      if (named) keep(named);
      resolve(Boolean(named));
    }, { once: true });
    dialog.returnValue = "";
    dialog.showModal();
  });
}

function read() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function keep(named) {
  token = named;
  try {
    sessionStorage.setItem(KEY, named);
  } catch {
    // then it holds until the page is left
  }
}
