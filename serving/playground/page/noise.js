// The diffusion model: a film into noise and out of it, and noise that is added and taken away.

import { latest, models, predict, told } from "./api.js";
import { PIXELS, fromNested, hasInk, show, toNested } from "./images.js";
import { byId, randomSeed } from "./page.js";
import { player } from "./player.js";

const STEPS = 1000; // of the forward process, all of them pure noise
const DISSOLVING = 14; // frames
// Steps that the network may take; each film goes through them from the same noise.
const GROWING = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40];
const MENDING = 8;
let digit = new Float32Array(PIXELS),
  seed = randomSeed(),
  turn = 0;

const film = player({
  canvas: byId("film"),
  button: byId("film-play"),
  slider: byId("film-at"),
  caption: byId("film-caption"),
  start: makeFilm,
});
const mending = player({
  canvas: byId("cleaned"),
  button: byId("clean"),
  slider: byId("clean-at"),
  caption: byId("cleaned-caption"),
  start: makeMending,
  wait: 180,
});

// ---- The film ----

// Begins to make the frames; returns when the first can be shown.
async function makeFilm() {
  const mine = ++turn,
    image = [toNested(digit)],
    noise = seed;
  film.making(true);
  const dissolved = await Promise.all(
    Array.from({ length: DISSOLVING }, async (_, i) => {
      const step = Math.round((STEPS * i) / (DISSOLVING - 1));
      const [noisy] = await predict("diffusion", "forward", { image, step: [step], seed: noise });
      return [
        fromNested(noisy),
        i === DISSOLVING - 1 ? "only noise is left" : `${Math.round(step / 10)} of 100 parts noise`,
      ];
    }),
  ).catch((error) =>
    told(() => {
      throw error;
    }),
  );
  if (mine !== turn) return;
  for (const [noisy, words] of dissolved ?? []) film.add(noisy, words);
  if (dissolved) grow(mine, noise);
  else film.making(false);
}

async function grow(mine, noise) {
  await told(async () => {
    for (const steps of GROWING) {
      const [made] = await predict("diffusion", "generate", { seed: noise, count: 1, steps });
      if (mine !== turn) return;
      film.add(fromNested(made), `a new digit, in ${steps} step${steps > 1 ? "s" : ""}`);
    }
  });
  if (mine === turn) film.making(false);
}

function forget() {
  turn++;
  film.reset();
  film.making(false);
}

// ---- Noise, and without it ----

const level = () => Number(byId("noise").value);

function normals(from, count) {
  let state = (from ^ 0x9e3779b9) >>> 0; // mulberry32
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

function noisyDigit() {
  const noise = normals(1, PIXELS),
    sigma = level();
  return digit.map((value, i) => Math.min(1, Math.max(0, value + sigma * noise[i])));
}

async function denoise(image, sigma) {
  const outputs = await predict("diffusion", "denoise", {
    image: [toNested(image)],
    noise_level: [sigma],
  });
  return fromNested(outputs[0]);
}

function spoil() {
  const noisy = noisyDigit();
  show(byId("noisy"), noisy);
  mending.reset();
  if (!models.has("diffusion")) return;
  latest("diffusion", async () => {
    const guess = hasInk(digit) ? await denoise(noisy, level()) : digit; // nothing is under nothing
    if (mending.count) return;
    show(byId("cleaned"), guess);
    byId("cleaned-caption").textContent = "its guess";
  });
}

// The deterministic reverse process (Song et al. 2021, DDIM) in pixel units: each step moves
// towards the estimate of the clean image in proportion to the fall of the noise level.
async function makeMending() {
  const start = level(),
    mine = digit;
  await told(async () => {
    const images = [noisyDigit()];
    for (let i = 0; i < MENDING; i++) {
      const sigma = start * (1 - i / MENDING),
        next = start * (1 - (i + 1) / MENDING);
      const image = images.at(-1),
        estimate = await denoise(image, sigma);
      images.push(
        image.map((value, k) => estimate[k] + (sigma ? next / sigma : 0) * (value - estimate[k])),
      );
    }
    if (mine !== digit || start !== level()) return;
    images.forEach((image, i) =>
      mending.add(image, i ? `after ${i} of ${MENDING} steps` : "before the first step"),
    );
  });
}

export function openNoise() {
  byId("noise").addEventListener("input", spoil);
  byId("film-dice").addEventListener("click", () => {
    seed = randomSeed();
    forget();
    film.play();
  });
}

export function setNoiseDigit(image) {
  digit = image;
  forget();
  show(byId("film"), image);
  byId("film-caption").textContent = "Your drawing. The film is made when you press play.";
  spoil();
}
