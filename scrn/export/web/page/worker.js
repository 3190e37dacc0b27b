// The network, beside the page's thread, so that the page answers while it works.

import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";
import { classMap, inputSize, resized } from "./pixels.js";

let network;
let session;
let last = Promise.resolve();
let newest; // the photo that is wanted, of those that came

self.onmessage = ({ data }) => {
  newest = data.id;
  // One after another: a session does not run twice at a time.
  last = last.then(() => (data.kind === "load" ? load(data) : segment(data)));
};

async function load(data) {
  try {
    network = data.network;
    ort.env.wasm.numThreads = data.threads;
    const model = await fetched(new URL(network.file, self.location));
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    self.postMessage({ kind: "ready" });
  } catch (error) {
    self.postMessage({ kind: "failed", reason: reasonOf(error) });
  }
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${network.file}: ${response.status} ${response.statusText}`);
  const chunks = [];
  let size = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    size += value.length;
    self.postMessage({ kind: "progress", share: size / network.bytes });
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function segment({ id, file }) {
  if (!session || id !== newest) return;
  try {
    const start = performance.now();
    const bitmap = await decoded(file);
    const { height, width } = bitmap;
    const [inputHeight, inputWidth] = inputSize(height, width, network.short_side);
    const input = resized(pixelsOf(bitmap), height, width, inputHeight, inputWidth);
    const read = performance.now();
    const logits = await run(input, inputHeight, inputWidth);
    const ran = performance.now();
    const labels = classMap(logits, network.classes.length, inputHeight, inputWidth, height, width);
    const times = { reading: read - start, network: ran - read, labels: performance.now() - ran };
    self.postMessage({ kind: "labels", id, bitmap, labels, times }, [bitmap, labels.buffer]);
  } catch (error) {
    self.postMessage({
      kind: "error",
      id,
      unreadable: error instanceof Unreadable,
      reason: reasonOf(error),
    });
  }
}

class Unreadable extends Error {}

/** The pixels as stored, without the colour profile, turned as EXIF says: what Pillow reads. */
async function decoded(file) {
  try {
    return await createImageBitmap(file, {
      colorSpaceConversion: "none",
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
    });
  } catch (error) {
    throw new Unreadable(reasonOf(error));
  }
}

function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  // Beyond the size that a browser allows a canvas, nothing is drawn, and no error tells.
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i]) return pixels;
  throw new Unreadable("no pixels");
}

async function run(input, height, width) {
  const image = new ort.Tensor(
    "float32",
    Float32Array.from(input, (value) => value / 255),
    [1, 3, height, width],
  );
  const outputs = await session.run({ [session.inputNames[0]]: image });
  const logits = outputs[session.outputNames[0]];
  const data = await logits.getData();
  logits.dispose();
  return data;
}

function reasonOf(error) {
  // What WebAssembly throws may be a bare number.
  return String(error?.message ?? error).split("\n")[0];
}
