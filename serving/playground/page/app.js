// The playground. Talks to the model server by TensorFlow Serving's REST contract only.
// An image is a Float32Array of 784 values in [0, 1], white ink on black.
"use strict";

const SIDE = 28, PIXELS = SIDE * SIDE;
const byId = (id) => document.getElementById(id);
const models = new Map(); // name -> {version, signatures}
let server = "";
// Of this tab alone; empty if the server asks for none.
const token = sessionStorage.getItem("token") ?? "";
const headers = token ? { Authorization: `Bearer ${token}` } : {};
let digit = new Float32Array(PIXELS); // what the models see
let clusters = null;

// ---- Requests to the server ----

class ServerError extends Error {}

async function ask(path, body) {
  let response;
  try {
    response = await fetch(server + path, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
  } catch {
    throw new ServerError(`The model server at ${server} does not answer. Is it running?`);
  }
  if (response.status === 401) {
    byId("access").hidden = false;
    throw new ServerError(token ? "The model server does not take this token." : "The model server asks for a token.");
  }
  let answer;
  try {
    answer = JSON.parse((await response.text()).replace(/\b(NaN|-?Infinity)\b/g, "null"));
  } catch {
    throw new ServerError(`The model server answered with HTTP ${response.status} and no JSON.`);
  }
  if (!response.ok) throw new ServerError(`The model server says: ${answer.error ?? response.status}`);
  return answer;
}

async function predict(model, signature, inputs) {
  const answer = await ask(`/v1/models/${model}:predict`, { signature_name: signature, inputs });
  return answer.outputs;
}

const toNested = (image) =>
  Array.from({ length: SIDE }, (_, y) => Array.from({ length: SIDE }, (_, x) => [image[y * SIDE + x]]));
const fromNested = (rows) => Float32Array.from(rows.flat(2));

// Runs one at a time for each key and keeps only the newest of those that wait.
const lanes = new Map();
function latest(key, work) {
  const lane = lanes.get(key) ?? { busy: false, next: null };
  lanes.set(key, lane);
  lane.next = work;
  if (!lane.busy) drain(lane);
}
async function drain(lane) {
  lane.busy = true;
  while (lane.next) {
    const work = lane.next;
    lane.next = null;
    await told(work);
  }
  lane.busy = false;
}

// Runs work; shows the message of a failure, and clears it after a success.
async function told(work) {
  const place = byId("error");
  try {
    await work();
    place.hidden = true;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    place.textContent = error.message;
    place.hidden = false;
  }
}

async function whilePressed(button, work) {
  button.disabled = true;
  await told(work);
  button.disabled = false;
}

// ---- Images ----

function show(canvas, image) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < PIXELS; i++) {
    const value = Math.round(255 * Math.min(1, Math.max(0, image[i])));
    data.data.set([value, value, value, 255], 4 * i);
  }
  context.putImageData(data, 0, 0);
}

function showGrid(list, images, words) {
  list.replaceChildren(...images.map((image, i) => {
    const item = document.createElement("li");
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words ? words[i] : `digit ${i + 1}`);
    show(canvas, image);
    item.append(canvas, ...(words ? [words[i]] : []));
    return item;
  }));
}

// ---- Random numbers with a seed ----

function normals(seed, count) {
  let state = (seed ^ 0x9e3779b9) >>> 0; // mulberry32
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

// ---- Drawing ----

const pad = byId("pad"), ink = pad.getContext("2d", { willReadFrequently: true });
const pen = { x: 140, y: 140, down: false, pointer: null };

function clearPad() {
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, pad.width, pad.height);
  setDigit(new Float32Array(PIXELS));
}

function line(x, y) {
  ink.strokeStyle = "#fff";
  ink.lineWidth = 22;
  ink.lineCap = ink.lineJoin = "round";
  ink.beginPath();
  ink.moveTo(pen.x, pen.y);
  ink.lineTo(x + 0.01, y);
  ink.stroke();
  [pen.x, pen.y] = [x, y];
  readPad();
}

function place(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) * pad.width / box.width, (event.clientY - box.top) * pad.height / box.height];
}
pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  pen.pointer = event.pointerId;
  [pen.x, pen.y] = place(event);
  line(pen.x, pen.y);
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pen.pointer) return;
  for (const part of event.getCoalescedEvents?.() ?? []) line(...place(part));
  line(...place(event));
});
for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => { pen.pointer = null; });

pad.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
  if (step) {
    const x = Math.min(pad.width, Math.max(0, pen.x + step[0])), y = Math.min(pad.height, Math.max(0, pen.y + step[1]));
    if (pen.down) line(x, y); else [pen.x, pen.y] = [x, y];
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) line(pen.x, pen.y);
  } else if (event.key === "Delete" || event.key === "Backspace") clearPad();
  else return;
  event.preventDefault();
});

// As in MNIST: the ink is scaled to 20 x 20 and placed on 28 x 28 with its centre of mass in the middle.
function readPad() {
  const { width, height } = pad, data = ink.getImageData(0, 0, width, height).data;
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (data[4 * (y * width + x)] > 50) {
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  if (right < 0) return setDigit(new Float32Array(PIXELS));
  const scale = 20 / Math.max(right - left + 1, bottom - top + 1);
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  const paint = (dx, dy) => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.drawImage(pad, left, top, right - left + 1, bottom - top + 1, dx, dy,
      (right - left + 1) * scale, (bottom - top + 1) * scale);
    const pixels = context.getImageData(0, 0, SIDE, SIDE).data;
    return Float32Array.from({ length: PIXELS }, (_, i) => pixels[4 * i] / 255);
  };
  const first = paint(4, 4);
  let mass = 0, sumX = 0, sumY = 0;
  first.forEach((value, i) => { mass += value; sumX += value * (i % SIDE); sumY += value * Math.floor(i / SIDE); });
  setDigit(mass ? paint(4 + Math.round(13.5 - sumX / mass), 4 + Math.round(13.5 - sumY / mass)) : first);
}

function setDigit(image) {
  digit = image;
  show(byId("input"), digit);
  latest("autoencoder", runAutoencoder);
  addNoise();
}

function putOnPad(image) {
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  show(small, image);
  ink.imageSmoothingEnabled = true;
  ink.drawImage(small, 0, 0, pad.width, pad.height);
}

// ---- Autoencoder ----

async function runAutoencoder() {
  if (!models.has("autoencoder")) return;
  if (!digit.some((value) => value > 0)) {
    for (const id of ["reconstruction", "cluster"]) show(byId(id), digit);
    byId("anomaly").textContent = "–";
    byId("code").getContext("2d").clearRect(0, 0, 320, 96);
    return;
  }
  const image = [toNested(digit)];
  const [reconstruction, code, score] = await Promise.all([
    predict("autoencoder", "serving_default", { image }),
    predict("autoencoder", "encode", { image }),
    predict("autoencoder", "anomaly_score", { image }),
  ]);
  show(byId("reconstruction"), fromNested(reconstruction[0]));
  showCode(code[0]);
  byId("anomaly").textContent = `${score[0].toFixed(4)} nats per pixel above the digit's own entropy; higher is more anomalous`;
  showCluster(code[0]);
}

function showCode(code) {
  const canvas = byId("code"), context = canvas.getContext("2d");
  const { width, height } = canvas, bar = width / code.length;
  const most = Math.max(...code.map(Math.abs), 1e-6);
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(document.body).getPropertyValue("color");
  context.fillRect(0, height / 2 - 0.5, width, 1);
  code.forEach((value, i) => {
    const size = Math.abs(value) / most * (height / 2 - 4);
    context.fillStyle = value < 0 ? "#d9822b" : "#2b8ad9";
    context.fillRect(i * bar + 1, value < 0 ? height / 2 : height / 2 - size, bar - 2, size);
  });
  byId("code-caption").textContent = `the latent code: ${code.length} dimensions, from −${most.toFixed(1)} to ${most.toFixed(1)}`;
}

function showCluster(code) {
  if (!clusters) return;
  const distances = clusters.centres.map((centre) => Math.hypot(...centre.map((value, i) => value - code[i])));
  const nearest = distances.indexOf(Math.min(...distances));
  show(byId("cluster"), Float32Array.from(clusters.images[nearest]));
  const { label, share } = clusters.members[nearest];
  byId("cluster-caption").textContent = `nearest cluster: ${Math.round(100 * share)} % are “${label}”`;
}

// ---- Noise and the diffusion model ----

const noiseLevel = () => Number(byId("noise").value);
function noisyDigit() {
  const noise = normals(1, PIXELS), sigma = noiseLevel();
  return digit.map((value, i) => Math.min(1, Math.max(0, value + sigma * noise[i])));
}

function addNoise() {
  byId("noise-value").textContent = noiseLevel().toFixed(2);
  const noisy = noisyDigit();
  show(byId("noisy"), noisy);
  byId("film").replaceChildren();
  latest("diffusion", async () => {
    if (!models.has("diffusion")) return;
    show(byId("cleaned"), await denoise(noisy, noiseLevel()));
    byId("cleaned-caption").textContent = "the diffusion model's estimate";
  });
}

async function denoise(image, sigma) {
  const outputs = await predict("diffusion", "denoise", { image: [toNested(image)], noise_level: [sigma] });
  return fromNested(outputs[0]);
}

// The deterministic reverse process (Song et al. 2021, DDIM) in pixel units: each step moves
// towards the estimate of the clean image in proportion to the fall of the noise level.
async function cleanStepByStep() {
  const start = noiseLevel(), count = 8;
  const images = [noisyDigit()], words = [start.toFixed(2)];
  for (let i = 0; i < count; i++) {
    const sigma = start * (1 - i / count), next = start * (1 - (i + 1) / count);
    const image = images.at(-1), estimate = await denoise(image, sigma);
    images.push(image.map((value, k) => estimate[k] + (sigma ? next / sigma : 0) * (value - estimate[k])));
    words.push(next.toFixed(2));
    showGrid(byId("film"), images, words);
    show(byId("cleaned"), images.at(-1));
  }
  byId("cleaned-caption").textContent = `after ${count} steps`;
}

// ---- Generating ----

function whole(id) {
  const field = byId(id);
  if (!field.checkValidity() || field.value === "") {
    throw new ServerError(`${field.closest("label").firstChild.textContent.trim()}: ${field.validationMessage || "give a whole number."}`);
  }
  return Number(field.value);
}

async function generate() {
  const model = byId("generate-model").value;
  const inputs = { seed: whole("seed"), count: Number(byId("count").value) };
  if (model === "diffusion") inputs.steps = whole("steps");
  const images = await predict(model, "generate", inputs);
  showGrid(byId("samples"), images.map(fromNested));
}

const randomSeed = () => Math.floor(Math.random() * 1e6); // short enough to be read out
const ends = { a: randomSeed(), b: randomSeed() }; // seeds of the latents that the walk lies between

const latentSize = () =>
  Number(models.get("gan").signatures.serving_default.inputs.latent.tensor_shape.dim[1].size);

// On a great circle: a straight line would pass through latents shorter than any in training.
function between(a, b, t) {
  const dot = a.reduce((sum, value, i) => sum + value * b[i], 0) / (Math.hypot(...a) * Math.hypot(...b));
  const angle = Math.acos(Math.min(1, Math.max(-1, dot)));
  if (angle < 1e-6) return Array.from(a);
  return Array.from(a, (value, i) => (Math.sin((1 - t) * angle) * value + Math.sin(t * angle) * b[i]) / Math.sin(angle));
}

async function walk() {
  if (!models.has("gan")) return;
  const size = latentSize(), a = normals(ends.a, size), b = normals(ends.b, size);
  const ways = [...Array.from({ length: 9 }, (_, i) => i / 8), Number(byId("way").value)];
  const images = await predict("gan", "serving_default", { latent: ways.map((t) => between(a, b, t)) });
  show(byId("between"), fromNested(images[9]));
  showGrid(byId("walk"), images.slice(0, 9).map(fromNested), ways.slice(0, 9).map((t) => t.toFixed(2)));
}

// ---- Start ----

async function connect() {
  const config = await (await fetch("config.json")).json();
  server = `${location.protocol}//${location.hostname}:${config.rest_port}`;
  const failures = [];
  await Promise.all(config.models.map(async (name) => {
    try {
      const answer = await ask(`/v1/models/${name}/metadata`);
      models.set(name, { version: answer.model_spec.version, signatures: answer.metadata.signature_def.signature_def });
    } catch (error) {
      failures.push(error);
    }
  }));
  byId("served").textContent = models.size
    ? [...models].sort().map(([name, model]) => `${name} ${model.version}`).join(" · ")
    : "No model answers.";
  for (const section of document.querySelectorAll("[data-needs]")) {
    const names = section.dataset.needs.split("|");
    if (names.some((name) => models.has(name))) continue;
    section.classList.add("missing");
    const why = document.createElement("p");
    why.className = "why";
    why.textContent = `The model ${names.join(" or ")} is not being served.`;
    section.append(why);
  }
  byId("example").hidden = !models.has("gan");
  byId("generate-model").replaceChildren(...["gan", "diffusion"].filter((name) => models.has(name)).map((name) => new Option(name)));
  showSteps();
  if (failures.length && !models.size) throw failures[0];
  if (models.has("autoencoder")) {
    const response = await fetch("clusters.json", { headers });
    clusters = response.ok ? await response.json() : null;
    byId("cluster").closest("figure").hidden = !clusters;
  }
}

function showSteps() {
  byId("steps-label").hidden = byId("generate-model").value !== "diffusion";
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  location.reload();
});
byId("clear").addEventListener("click", clearPad);
byId("example").addEventListener("click", (event) => whilePressed(event.target, async () => {
  const [image] = await predict("gan", "generate", { seed: randomSeed(), count: 1 });
  putOnPad(fromNested(image));
  setDigit(fromNested(image));
}));
byId("noise").addEventListener("input", addNoise);
byId("clean").addEventListener("click", (event) => whilePressed(event.target, cleanStepByStep));
byId("generate-model").addEventListener("change", showSteps);
byId("generate").addEventListener("click", (event) => whilePressed(event.target, generate));
byId("dice").addEventListener("click", () => {
  byId("seed").value = randomSeed();
  byId("generate").click();
});
byId("way").addEventListener("input", () => {
  byId("way-value").textContent = Number(byId("way").value).toFixed(2);
  latest("walk", walk);
});
for (const end of ["a", "b"]) {
  byId(`dice-${end}`).addEventListener("click", () => {
    ends[end] = randomSeed();
    latest("walk", walk);
  });
}
told(async () => {
  await connect();
  clearPad();
  latest("walk", walk);
  document.body.dataset.ready = "yes";
});
