/**
 * One photo: what `/analyze` says of it.
 */
import { request } from "./access.js";
import { FaceList, plural, sentences, setText } from "./faces.js";
import { drawFaces } from "./facestream.js";

const byId = (id) => document.getElementById(id);

/** @param {{announce: (subject: string, words: string) => void}} page */
export function photoView({ announce }) {
  const canvas = byId("photo-canvas");
  const list = new FaceList(byId("photo-faces"), { certainty: true });
  const sure = byId("photo-sure");
  let shown = null; // {answer, bitmap}
  let blank = false; // no picture is to be shown
  let turn = 0;

  function draw() {
    if (!shown) return;
    const { answer, bitmap } = shown;
    const least = Number(sure.value);
    // Numbers as tracks have them: they tell which card is whose.
    const faces = answer.faces.map((face, index) => ({ ...face, trackId: index + 1 })).filter((face) => face.faceConfidence >= least);
    drawFaces(canvas, { ...answer, faces }, { picture: blank ? null : bitmap });
    const hidden = answer.faces.length - faces.length;
    canvas.setAttribute("aria-label", `The photo, ${plural(faces.length, "face")}`);
    list.update(faces, hidden ? "No face as certain as that" : "No face was found");
    setText(byId("photo-sure-value"), least.toFixed(2));
    const { width, height } = answer.image;
    const took = Object.values(answer.timings).reduce((sum, ms) => sum + ms, 0);
    setText(byId("photo-facts"), [`${width} × ${height}`, plural(faces.length, "face"),
      hidden ? `${hidden} less certain` : "", `${Math.round(took)} ms`].filter(Boolean).join(" · "));
  }

  function tell(title = "", text = "") {
    byId("photo-message").hidden = !title;
    setText(byId("photo-title"), title);
    setText(byId("photo-text"), text);
  }

  function hide() {
    shown?.bitmap?.close();
    shown = null;
    byId("photo-result").hidden = true;
  }

  async function show(file) {
    const mine = ++turn;
    hide();
    byId("photo-drop").hidden = true;
    tell(`Looking at ${file.name}`, "Large pictures take some seconds.");
    try {
      const form = new FormData();
      form.append("filename", file);
      const response = await request("/analyze", { method: "POST", body: form });
      const answer = await response.json();
      // A picture that the server reads but this browser does not is shown by its faces alone.
      const bitmap = await createImageBitmap(file).catch(() => null);
      if (mine !== turn) return;
      shown = { answer, bitmap };
      canvas.parentElement.style.setProperty("--aspect", (answer.image.width / answer.image.height).toFixed(4));
      setText(byId("photo-json"), JSON.stringify(answer, null, 2));
      tell();
      byId("photo-result").hidden = false;
      draw();
      announce("Photo", `${file.name}: ${plural(answer.faces.length, "face")}`);
    } catch (error) {
      if (mine !== turn) return;
      byId("photo-drop").hidden = false;
      tell(`${file.name} cannot be analysed`, sentences(error.message, error.hint));
      announce("Photo", `${file.name}: ${error.message}`);
    }
  }

  sure.addEventListener("input", draw);
  new ResizeObserver(draw).observe(canvas);
  byId("photo-copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("photo-json").textContent);
      announce("Photo", "JSON copied");
      setText(byId("photo-copy"), "Copied");
    } catch {
      getSelection().selectAllChildren(byId("photo-json")); // not allowed: then by hand
      setText(byId("photo-copy"), "Press Ctrl+C");
    }
    setTimeout(() => setText(byId("photo-copy"), "Copy"), 2000);
  });
  return {
    show,
    /** @param {boolean} on whether faces are shown without their photo */
    setBlank(on) {
      blank = on;
      draw();
    },
  };
}
