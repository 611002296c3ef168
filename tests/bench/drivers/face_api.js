// @vladmandic/face-api on WebAssembly: its small detector, 68 landmarks, age, gender and emotion of every face.
const { modules, need, serve } = require("./frames.js");

const tf = need("@tensorflow/tfjs");
const wasm = need("@tensorflow/tfjs-backend-wasm");
const faceapi = need("@vladmandic/face-api/dist/face-api.node-wasm.js");

async function main() {
  wasm.setWasmPaths(`${modules}/@tensorflow/tfjs-backend-wasm/dist/`);
  await tf.setBackend("wasm");
  await tf.ready();
  const models = `${modules}/@vladmandic/face-api/model`;
  for (const name of ["tinyFaceDetector", "faceLandmark68Net", "ageGenderNet", "faceExpressionNet"]) {
    await faceapi.nets[name].loadFromDisk(models);
  }
  const options = new faceapi.TinyFaceDetectorOptions({ inputSize: 416, scoreThreshold: 0.4 });
  await serve(tf, async (tensor) => {
    const faces = await faceapi.detectAllFaces(tensor, options).withFaceLandmarks().withFaceExpressions().withAgeAndGender();
    return faces.length;
  });
}

main();
