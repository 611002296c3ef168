// @vladmandic/human on WebAssembly: detection, mesh, age, gender and emotion of every face in every picture.
const { modules, need, serve } = require("./frames.js");

need("@tensorflow/tfjs-backend-wasm");
const { Human } = need("@vladmandic/human/dist/human.node-wasm.js");

const human = new Human({
  backend: "wasm",
  wasmPath: `${modules}/@tensorflow/tfjs-backend-wasm/dist/`,
  modelBasePath: `file://${modules}/@vladmandic/human/models/`,
  cacheSensitivity: 0, // nothing is taken over from the picture before
  debug: false,
  filter: { enabled: false },
  face: {
    enabled: true,
    detector: { maxDetected: 20, rotation: true },
    mesh: { enabled: true },
    iris: { enabled: false },
    description: { enabled: true }, // age and gender
    emotion: { enabled: true },
    antispoof: { enabled: false },
    liveness: { enabled: false },
  },
  body: { enabled: false },
  hand: { enabled: false },
  object: { enabled: false },
  gesture: { enabled: false },
});

async function main() {
  await human.load();
  await serve(human.tf, async (tensor) => {
    const result = await human.detect(tensor);
    if (result.error) throw new Error(result.error);
    for (const face of result.face) {
      if (!face.age || !face.gender || !face.emotion?.length) throw new Error("a face without age, gender or emotion");
    }
    return result.face.length;
  });
}

main();
