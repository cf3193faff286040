// A map of real digits by their codes, and where the drawing lies on it.
// The two directions are those in which the means of the ten classes spread most.

import { CLASSES, PIXELS, SIDE } from "./images.js";
import { byId, element } from "./page.js";
import { nearestLabels } from "./reading.js";

const MARGIN = 0.07,
  THUMB = 36,
  ROUNDS = 200;
let places = null,
  thumbs = [],
  mine = null;

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const meanOf = (rows) =>
  rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

// The direction in which rows of mean 0 spread most, by power iteration.
function mainDirection(rows) {
  let direction = rows[0].map((_, i) => 1 + i / 100);
  for (let round = 0; round < ROUNDS; round++) {
    const next = direction.map(() => 0);
    for (const row of rows) {
      const along = dot(row, direction);
      row.forEach((value, i) => {
        next[i] += along * value;
      });
    }
    const length = Math.hypot(...next) || 1;
    direction = next.map((value) => value / length);
  }
  return direction;
}

// Codes to positions on the map in [0, 1], which may lie outside for other codes.
function projection(codes, classes) {
  const centre = meanOf(codes);
  const moved = (code) => code.map((value, i) => value - centre[i]);
  let means = Array.from({ length: CLASSES }, (_, label) =>
    meanOf(codes.filter((_, i) => classes[i] === label).map(moved)),
  );
  const first = mainDirection(means);
  means = means.map((row) => {
    const along = dot(row, first);
    return row.map((value, i) => value - along * first[i]);
  });
  const axes = [first, mainDirection(means)];
  const flat = (code) => axes.map((axis) => dot(moved(code), axis));
  const all = codes.map(flat);
  const bounds = [0, 1].map((k) => [
    Math.min(...all.map((p) => p[k])),
    Math.max(...all.map((p) => p[k])),
  ]);
  return (code) =>
    flat(code).map(
      (value, k) =>
        MARGIN + ((1 - 2 * MARGIN) * (value - bounds[k][0])) / (bounds[k][1] - bounds[k][0] || 1),
    );
}

// A digit as ink of one colour without its ground.
function thumb(image, colour) {
  const canvas = element("canvas", { width: SIDE, height: SIDE }),
    context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, SIDE, SIDE);
  const data = context.getImageData(0, 0, SIDE, SIDE);
  for (let i = 0; i < PIXELS; i++) data.data[4 * i + 3] = 255 * image[i];
  context.putImageData(data, 0, 0);
  return canvas;
}

function draw() {
  if (!places) return;
  const canvas = byId("map"),
    context = canvas.getContext("2d"),
    { width, height } = canvas;
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, width, height);
  places.all.forEach(([x, y], i) => {
    const tinted = thumb(thumbs[i], style.color);
    context.drawImage(tinted, x * width - THUMB / 2, y * height - THUMB / 2, THUMB, THUMB);
  });
  if (!mine) return;
  const [x, y] = places.of(mine).map((value) => Math.min(0.97, Math.max(0.03, value)));
  context.strokeStyle = style.caretColor;
  context.lineWidth = 6;
  context.beginPath();
  context.arc(x * width, y * height, 22, 0, 2 * Math.PI);
  context.stroke();
}

export function openMap(real, codes) {
  thumbs = real.map((digit) => digit.image);
  const of = projection(
    codes,
    real.map((digit) => digit.label),
  );
  places = { of, all: codes.map(of) };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

export function setMapCode(code) {
  mine = code;
  if (!places) return;
  draw();
  let words = "Map of digits; nothing is drawn";
  if (code) {
    const near = nearestLabels(code);
    words = `Map of digits; the five nearest to your drawing are ${near.join(", ")}`;
  }
  byId("map").setAttribute("aria-label", words);
}
