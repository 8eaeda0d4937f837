// The game behind an exported page: what `dfgym play` does on a server, in a worker of the page. It
// speaks the messages of dfgym/play/messages.py and replies.py, and steps the world by onnxruntime.
import * as ort from "./ort.mjs";

const END_PAUSE = 1500; // ms that an episode's end stays on the screen
const MIN_INTERVAL = 15; // ms between steps at least, however fast keys change
const MAX_IN_FLIGHT = 3; // frames that the page has not drawn
const MAX_BYTES = 2 ** 28; // of the past that is kept to rewind to
const MASK = 2n ** 64n - 1n;

const send = (reply) => postMessage(JSON.stringify(reply));
const now = () => performance.now();

// ---- files

/** Fetch a file of the page's folder; what is still gzip is unpacked. */
async function load(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing beside the page (${answer.status}); copy the whole folder`);
  return whole(name, async () => {
    const data = new Uint8Array(await answer.arrayBuffer());
    if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
    const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  });
}

/** Read a file, or say that it cannot be read. */
async function whole(name, read) {
  try {
    return await read();
  } catch (error) {
    throw new Error(`${name} did not come whole (${error.message}): load the page again, or copy its folder again`);
  }
}

// The exporter has left nothing that optimising is worth its second for: a step takes as long with it.
const OPTIONS = { executionProviders: ["wasm"], logSeverityLevel: 3, graphOptimizationLevel: "disabled" };
const open = (name, data) => whole(name, () => ort.InferenceSession.create(data, OPTIONS));

/** Derive a seed, as `mix` of dfgym/diffusion/noise.py. */
function mix(seed, counter) {
  let z = (seed * 0x9e3779b97f4a7c15n + (counter + 1n) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return (z ^ (z >> 31n)) >> 1n;
}

// ---- the dream

/** The learned game: a ring of past frames for each cache, and all that was ever in it. */
class Dream {
  constructor(world, session) {
    Object.assign(this, { world, session, seed: 0n, slots: [] });
    this.rings = world.caches.map((shape) => new Float32Array(shape.reduce((a, b) => a * b)));
  }

  /** Make the next frame, or follow a given one. */
  async step(action, observed = null) {
    const { frame: { height, width }, no_action } = this.world;
    const time = this.slots.length;
    const long = (n) => new ort.Tensor("int64", BigInt64Array.of(n), [1]);
    const feeds = {
      action: Array.isArray(no_action)
        ? new ort.Tensor("float32", Float32Array.from(action, (x) => x ?? NaN), [1, action.length]) : long(BigInt(action)),
      seed: long(BigInt.asIntN(64, this.seed)),
      time: long(BigInt(time)),
      observed: new ort.Tensor("uint8", observed ?? new Uint8Array(height * width * 3), [1, height, width, 3]),
      is_observed: new ort.Tensor("bool", [observed !== null], [1]),
    };
    this.rings.forEach((ring, i) => (feeds[`cache.${i}`] = new ort.Tensor("float32", ring, this.world.caches[i])));
    const results = await this.session.run(feeds);
    const slots = this.rings.map((_, i) => results[`slot.${i}`].data.slice());
    this.write(time, slots);
    this.slots.push(slots);
    return results;
  }

  write(time, slots) {
    slots.forEach((slot, i) => this.rings[i].set(slot, (time % this.world.caches[i][1]) * slot.length));
  }

  /** Begin an episode with given frames and the actions between them. */
  async begin(seed, frames, actions) {
    this.seed = seed;
    this.slots = [];
    for (const [i, frame] of frames.entries()) await this.step(i ? actions[i - 1] : this.world.no_action, frame);
  }

  /** Go back to where it had had so many frames. */
  rewind(time) {
    this.slots.length = time;
    const most = Math.max(...this.world.caches.map((shape) => shape[1]));
    for (let t = Math.max(0, time - most); t < time; t++) this.write(t, this.slots[t]);
  }
}

// ---- the session

let world, dream, player, starts, episodes;
const inbox = [];
let wake = () => {};
let seed, count; // the episode's number is counted from the seed on
let held = { action: 0, input: 0 }, played = held, tap = null;
let paused = false, agent = null, speed = 0, episode = 0;
let moments = [], first = 0, cursor = 0, branches = 0;
let beat = now(), last = beat;
let sent = 0, acknowledged = 0, preview = null, state = "";

const current = () => moments[cursor - first];
const ended = () => current().terminated || current().truncated;
const differs = (a, b) => `${a}` !== `${b}`;
const urgent = () => agent === null && differs((tap ?? held).action, played.action);

function hold({ action, input }) {
  if (urgent() && !paused) tap ??= held;
  held = { action, input };
}

async function begin(start = null) {
  count += 1n;
  const own = mix(seed, count);
  const { frames, actions } = start === null ? episodes[Number(mix(own, 0n) % BigInt(episodes.length))] : starts[start];
  await dream.begin(own, frames, actions);
  moments = [{ frame: frames.at(-1), action: null, reward: 0, score: 0, terminated: false, truncated: false,
    termination_probability: null, uncertainty: null, ms: 0 }];
  first = cursor = branches = 0;
  tap = null;
  episode += 1;
}

function randomAction() {
  const { parts, actions } = world.hello;
  const below = (n) => Math.floor(Math.random() * n);
  return parts ? parts.map(({ n, low, high }) => (n ? low + below(n) : low + Math.random() * (high - low))) : below(actions.length);
}

/** Let the exported agent choose, by the newest frames; those before the first are 0. */
async function agentAction() {
  const { frame: { height, width }, agent: { frame_stack: stack } } = world;
  const frames = new Uint8Array(height * width * 3 * stack);
  for (let i = 0; i < stack; i++) {
    const frame = moments[cursor - first + 1 + i - stack]?.frame ?? [];
    for (let p = 0; p < frame.length; p++) frames[(Math.floor(p / 3) * stack + i) * 3 + (p % 3)] = frame[p];
  }
  const { action } = await player.run({ frames: new ort.Tensor("uint8", frames, [1, height, width, 3 * stack]) });
  const row = Array.from(action.data, Number);
  return Array.isArray(world.no_action) ? row : row[0];
}

async function advance() {
  if (ended()) return begin();
  const length = first + moments.length - 1;
  if (cursor < length) {
    branches += 1;
    moments.length = cursor - first + 1;
    dream.rewind(dream.slots.length - (length - cursor));
  }
  let action;
  if (agent) action = agent === world.agent?.name ? await agentAction() : randomAction();
  else {
    played = tap ?? held;
    tap = null;
    action = played.action;
  }
  const began = now();
  const results = await dream.step(action);
  const value = (name) => Number(results[name].data[0]);
  const terminated = Boolean(value("terminated"));
  moments.push({
    frame: results.frame.data.slice(), action, reward: value("reward"), score: current().score + value("reward"),
    terminated, truncated: !terminated && cursor + 1 >= world.hello.max_steps,
    termination_probability: value("termination_probability"), uncertainty: value("uncertainty"), ms: now() - began,
  });
  cursor += 1;
  const size = dream.slots.at(-1).reduce((total, slot) => total + slot.byteLength, 0);
  if (moments.length * size > MAX_BYTES) {
    moments.shift();
    first += 1;
    dream.slots[dream.slots.length - moments.length - Math.max(...world.caches.map((shape) => shape[1]))] = null;
  }
}

async function apply(message) {
  switch (message.do) {
    case "pause": paused = message.on; break;
    case "step":
      paused = true;
      await advance();
      break;
    case "seed":
      seed = BigInt(message.seed);
      count = -1n;
      send(hello());
      state = "";
    // falls through
    case "reset": await begin(message.start); break;
    case "seek": {
      const length = first + moments.length - 1;
      if (message.t < first || message.t > length) throw new Error(`step ${message.t} is not kept; there are ${first} to ${length}`);
      cursor = message.t;
      paused = true;
      break;
    }
    case "agent":
      if (message.name === world.agent?.name) player ??= await open("agent.onnx", await load("agent.onnx")); // by those who want it alone
      agent = message.name;
      tap = null;
      break;
    case "speed": speed = message.fps; break;
    case "ack":
      acknowledged = Math.max(acknowledged, message.seq);
      return;
    default: throw new Error(`an exported page cannot do "${message.do}": use dfgym play`);
  }
  if (message.do === "seek") preview = true;
  else if (["step", "reset", "seed"].includes(message.do)) {
    preview = false;
    beat = last = now();
  }
}

// ---- the pace, as in dfgym/play/connection.py

function due() {
  if (paused) return Infinity;
  if (ended()) return last + END_PAUSE;
  const next = speed ? beat + 1000 / speed : 0;
  return urgent() ? Math.min(next, last + MIN_INTERVAL) : next;
}

async function tick() {
  const at = now(), next = speed ? beat + 1000 / speed : 0;
  beat = speed && next <= at && at < next + 1000 / speed ? next : at;
  last = at;
  await advance();
  preview = false;
}

function sendFrame() {
  const { frame, ...numbers } = current();
  const text = new TextEncoder().encode(JSON.stringify({
    seq: ++sent, t: cursor, length: first + moments.length - 1, episode, ...numbers,
    input: played.input, branch: branches, preview, real: null,
  }));
  const packet = new Uint8Array(4 + text.length + frame.length);
  new DataView(packet.buffer).setUint32(0, text.length, true);
  packet.set(text, 4);
  packet.set(frame, 4 + text.length);
  postMessage(packet.buffer, [packet.buffer]);
  preview = null;
}

async function play() {
  for (;;) {
    while (inbox.length) {
      await apply(inbox.shift()).catch((error) => send({ type: "error", message: error.message }));
    }
    const room = () => sent - acknowledged < MAX_IN_FLIGHT;
    if (room() && preview === null && now() >= due()) await tick();
    if (room() && preview !== null) sendFrame();
    const reply = JSON.stringify({ type: "state", paused, agent, speed, settings: world.hello.settings, real_on: false, beside: false });
    if (preview === null && reply !== state) postMessage((state = reply));
    if (inbox.length) continue;
    await new Promise((resolve) => {
      const wait = room() && preview === null ? due() - now() : Infinity;
      const timer = wait < Infinity ? setTimeout(resolve, wait) : 0;
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

// ---- the beginning

const base64 = (bytes) => btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));

function hello() {
  const pictures = starts.map(({ frame, frames }, index) => ({ index, frame, pixels: base64(frames.at(-1)) }));
  const settings = { ...world.hello.settings, device: `your own machine, seed ${seed}` };
  return { ...world.hello, settings, starts: pictures, seed: `${seed}` };
}

/** Cut the starts' frames out of their file. */
function cut(data, list, offset) {
  const size = world.frame.height * world.frame.width * 3;
  return list.map(({ frame, count, actions }) => ({
    frame, actions, frames: Array.from({ length: count }, () => data.slice(offset.at, (offset.at += size))),
  }));
}

/** Refuse what `dfgym export` did not write. */
function describe(value) {
  const missing = ["hello", "frame", "caches", "episodes", "starts"].find((name) => !value?.[name]);
  if (missing) throw new Error(`it has no ${missing}`);
  return value;
}

async function prepare() {
  const names = ["world.json", "step.onnx", "starts.bin.gz", "ort.wasm.gz"];
  const [card, step, frames, wasm] = await Promise.all(names.map(load));
  world = await whole("world.json", () => describe(JSON.parse(new TextDecoder().decode(card))));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm.buffer });
  dream = new Dream(world, await open("step.onnx", step));
  await whole("starts.bin.gz", () => {
    const offset = { at: 0 };
    episodes = cut(frames, world.episodes, offset);
    starts = cut(frames, world.starts, offset);
    if (frames.length !== offset.at) throw new Error(`it has ${frames.length} bytes, not ${offset.at}`);
  });
  held = played = { action: world.hello.idle_action, input: 0 };
  speed = world.hello.fps;
  const query = new URLSearchParams(location.hash.slice(1));
  paused = query.has("paused");
  seed = BigInt(query.get("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  count = -1n;
  await begin();
  send(hello());
  preview = false;
}

addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  if (message.do === "act") hold(message); // at once: a key does not wait for a step
  else inbox.push(message);
  wake();
});
prepare().then(play).catch((error) => send({ type: "error", message: `The game cannot go on: ${error.message}` }));
