/**
 * Adding, pausing, resuming and removing streams, and what there is to know of one.
 */
import { request } from "./access.js";
import { plural, sentences, setText } from "./faces.js";
import { skippedWords } from "./tile.js";

const byId = (id) => document.getElementById(id);
const place = (name) => `/api/streams/${encodeURIComponent(name)}`;

/**
 * @param {{names: () => string[], changed: (words?: string) => void}} page `changed`: the server's streams may differ now
 * @returns {{openMenu: (tile: import("./tile.js").Tile) => void}}
 */
export function manageStreams({ names, changed }) {
  const menu = byId("menu");
  let tile = null; // whose menu is open

  async function act(words, work) {
    try {
      await work();
      changed(words);
    } catch (error) {
      showMessage(`“${tile.stream}” was not changed`, error);
      changed();
    }
  }

  const actions = {
    details: () => showDetails(tile.stream),
    pause: () => act(`${tile.stream} is paused`, () => request(`${place(tile.stream)}/pause`, { method: "POST" })),
    resume: () => act(`${tile.stream} goes on`, () => request(`${place(tile.stream)}/resume`, { method: "POST" })),
    remove: async () => {
      if (!(await confirmRemoval(tile.stream))) return;
      await act(`${tile.stream} is removed`, () => request(place(tile.stream), { method: "DELETE" }));
    },
  };
  for (const item of menu.querySelectorAll("[data-action]")) {
    item.addEventListener("click", () => {
      menu.hidePopover();
      actions[item.dataset.action]();
    });
  }
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const items = [...menu.querySelectorAll("[data-action]:not([hidden])")];
    items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
  });
  menu.addEventListener("toggle", (event) => tile.menuButton.setAttribute("aria-expanded", String(event.newState === "open")));

  byId("add").addEventListener("click", openForm);
  byId("empty-add").addEventListener("click", openForm);
  byId("stream-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const name = form.elements.name.value.trim();
    clearErrors(form);
    if (names().includes(name)) return showError(form, "name", "There is already a stream of this name.");
    form.elements.add.disabled = true;
    try {
      await request(place(name), { method: "PUT", body: JSON.stringify(settingsOf(form)) });
      byId("stream-dialog").close();
      changed(`${name} is added`);
    } catch (error) {
      showServerError(form, error);
    } finally {
      form.elements.add.disabled = false;
    }
  });
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }

  return {
    openMenu(of) {
      tile = of;
      const done = tile.state === "ended" || tile.paused;
      menu.querySelector("[data-action=pause]").hidden = done;
      menu.querySelector("[data-action=resume]").hidden = !done;
      menu.showPopover();
      const [at, size] = [tile.menuButton.getBoundingClientRect(), menu.getBoundingClientRect()];
      menu.style.left = `${Math.max(8, Math.min(at.right - size.width, innerWidth - size.width - 8))}px`;
      menu.style.top = `${at.bottom + 4 + size.height > innerHeight ? at.top - size.height - 4 : at.bottom + 4}px`;
      menu.querySelector("[data-action]:not([hidden])").focus();
    },
  };
}

// ---- the form of a new stream

function openForm() {
  const form = byId("stream-form");
  form.reset();
  clearErrors(form);
  byId("stream-dialog").showModal();
}

function settingsOf({ elements }) {
  const settings = { url: elements.url.value.trim(), transport: elements.transport.value };
  for (const name of ["user", "password"]) if (elements[name].value) settings[name] = elements[name].value;
  if (elements.fps.value) settings.fps = Number(elements.fps.value);
  return settings;
}

/** The server names the setting that it refuses: `the stream: $.fps: expected ...`. */
function showServerError(form, error) {
  const [, key] = /\$\.(\w+)/.exec(error.message) ?? [];
  const field = error.message.startsWith("the stream's name") ? "name" : form.elements[key] ? key : null;
  const words = field ? error.message.replace(/^.*?\$(\.\w+)?:\s*/, "") : error.message;
  showError(form, field, sentences(words, error.hint));
}

function showError(form, field, words) {
  const slot = byId(field ? `${field}-error` : "form-error");
  setText(slot, words);
  slot.hidden = false;
  form.elements[field]?.setAttribute("aria-invalid", "true");
  (form.elements[field] ?? form.elements.url).focus();
}

function clearErrors(form) {
  for (const slot of form.querySelectorAll(".error")) slot.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

// ---- other dialogs

/** @param {string} title @param {Error} error */
export function showMessage(title, error) {
  setText(byId("message-title"), title);
  setText(byId("message-text"), sentences(error.message));
  setText(byId("message-hint"), sentences(error.hint));
  byId("message-dialog").showModal();
}

function confirmRemoval(name) {
  const dialog = byId("remove-dialog");
  setText(byId("remove-title"), `Remove “${name}”?`);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "remove"), { once: true });
  });
}

/** What the server knows of a stream, brought up to date while it is looked at. */
function showDetails(name) {
  const dialog = byId("details-dialog");
  setText(byId("details-title"), name);
  byId("details-list").replaceChildren();
  const update = async () => {
    const entry = await request(place(name)).then((response) => response.json(), (error) => ({ error }));
    const facts = Object.entries(entry.settings ? factsOf(entry) : { Error: sentences(entry.error.message, entry.error.hint) });
    const list = byId("details-list");
    if (list.childElementCount !== 2 * facts.length) {
      list.replaceChildren(...facts.flatMap(() => [document.createElement("dt"), document.createElement("dd")]));
    }
    facts.forEach(([word, value], index) => {
      setText(list.children[2 * index], word);
      setText(list.children[2 * index + 1], value);
    });
  };
  update();
  const timer = setInterval(update, 1000);
  dialog.addEventListener("close", () => clearInterval(timer), { once: true });
  dialog.showModal();
}

function factsOf({ settings, state, error, image, clock, fps, ageMs, processed, skipped, source }) {
  const facts = { Address: settings.url, State: state, Picture: image ? `${image.width} × ${image.height}` : "none yet" };
  if (error) facts.Error = sentences(error.message, error.hint);
  facts["Frames a second"] = `${fps.delivered} delivered, ${fps.analysed} analysed`;
  facts["Age of the result"] = `${Math.round(ageMs)} ms`;
  facts["Frames analysed"] = processed.toLocaleString("en");
  facts["Not analysed"] = skippedWords(new Map(Object.entries(skipped))) || "none";
  if (clock) facts["Capture times"] = { camera: "of the camera's clock", host: "of this machine's clock", file: "of the file" }[clock];
  facts.Connected = `in ${source.opened} of ${plural(source.tries, "attempt")}`;
  if (source.decoder) facts.Decoder = source.decoder;
  return facts;
}
