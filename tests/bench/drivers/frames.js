// What the drivers have in common: raw RGB pictures on stdin, one after the other, and a line of JSON for each.
//   node DRIVER.js FOLDER_OF_NODE_MODULES WIDTH HEIGHT
const fs = require("fs");
const path = require("path");

const [modules, width, height] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const need = (name) => require(path.join(modules, name));

// TensorFlow.js asks the network for its models: here they lie on the disk.
globalThis.fetch = async (address) => new Response(fs.readFileSync(String(address.url ?? address).replace(/^file:\/\//, "")));

/** Calls `look(tensor)`, which gives the number of faces, for each picture. */
async function serve(tf, look) {
  const picture = Buffer.alloc(width * height * 3);
  const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
  say({ ready: true });
  let filled = 0;
  for await (const chunk of process.stdin) {
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.copy(picture, filled, at);
      at += taken;
      filled = (filled + taken) % picture.length;
      if (filled) continue;
      const tensor = tf.tensor(picture, [height, width, 3], "int32");
      const start = performance.now();
      const faces = await look(tensor);
      say({ ms: performance.now() - start, faces });
      tf.dispose(tensor);
    }
  }
}

module.exports = { modules, need, serve };
