/**
 * Which part of the page is seen, and files that are dropped on it, pasted or chosen.
 */

const VIEWS = ["live", "photo", "log"];
const byId = (id) => document.getElementById(id);

/** @returns {string} the view that the address names: `#photo`, `#log`, otherwise live */
export function currentView() {
  const named = location.hash.slice(1);
  return VIEWS.includes(named) ? named : "live";
}

/** Show the view that the address names. */
export function showView() {
  const view = currentView();
  for (const name of VIEWS) {
    byId(name).hidden = name !== view;
    const link = document.querySelector(`.views a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.dataset.view = view;
}

/**
 * Files that come from anywhere on the page.
 * @param {{photo: (file: File) => void, log: (file: File) => void}} takers
 */
export function takeFiles(takers) {
  let depth = 0; // of elements that a file is dragged over

  function take(files) {
    const [file] = files;
    if (!file) return;
    const view = /[.](jsonl|ndjson|json|log)$/i.test(file.name) ? "log" : "photo";
    location.hash = view;
    showView();
    takers[view](file);
  }

  function drag(change) {
    depth = Math.max(0, depth + change);
    byId("drop-hint").hidden = depth === 0;
  }

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && drag(1));
  addEventListener("dragleave", (event) => hasFiles(event) && drag(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drag(-depth);
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
  for (const [name, taker] of Object.entries(takers)) {
    for (const input of document.querySelectorAll(`input[data-file="${name}"]`)) {
      input.addEventListener("change", () => {
        if (input.files[0]) taker(input.files[0]);
        input.value = ""; // so that the same file can be chosen again
      });
    }
  }
}
