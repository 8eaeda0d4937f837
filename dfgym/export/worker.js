// The game behind an exported page: what `dfgym play` does on a server, in a worker of the page. It
// speaks the messages of dfgym/play/messages.py and replies.py, and steps the world by onnxruntime.
import * as ort from "./ort.mjs";

const END_PAUSE = 1500; // ms that an episode's end stays on the screen
const MIN_INTERVAL = 15; // ms between steps at least, however fast keys change
const MAX_IN_FLIGHT = 3; // frames that the page has not drawn
const MAX_BYTES = 2 ** 28; // of the past that is kept for rewinding
const MASK = 2n ** 64n - 1n;

let world, session, library;
const inbox = [];
let wake = () => {};
addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  if (message.do === "act") hold(message); // at once: a key does not wait for a step
  else inbox.push(message);
  wake();
});
const send = (reply) => postMessage(JSON.stringify(reply));

// ---- files

/** Fetch a file; one that still is gzip is unpacked. */
async function load(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing beside the page (${answer.status})`);
  const data = new Uint8Array(await answer.arrayBuffer());
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Read safetensors of uint8 frames, int64 actions or float32 rows, and int64 offsets. */
function readStarts(data, { actions: { shape } }) {
  const view = new DataView(data.buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + length)));
  const part = (name, kind) => {
    const [from, to] = header[name].data_offsets;
    return new kind(data.slice(8 + length + from, 8 + length + to).buffer);
  };
  const parts = shape.at(1) ?? 0;
  const rows = part("actions", parts ? Float32Array : BigInt64Array);
  return { frames: part("frames", Uint8Array), offsets: part("offsets", BigInt64Array), rows, parts };
}

// ---- seeds: as dfgym/diffusion/noise.py and env/starts.py

function mix(seed, counter) {
  let z = (seed * 0x9e3779b97f4a7c15n + (counter + 1n) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return (z ^ (z >> 31n)) >> 1n;
}
