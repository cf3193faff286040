// What the autoencoder makes of the drawing: redrawn, how strange, like which digits.

import { headers, models, predict } from "./api.js";
import { openGauge, showStrangeness } from "./gauge.js";
import { blank, fromNested, hasInk, show, toNested } from "./images.js";
import { byId } from "./page.js";

const NEAREST = 5;
let clusters = null,
  known = []; // [{label, code}] of the real digits

// The K-Means clusters that were pushed with the autoencoder; null if there are none.
export async function loadClusters() {
  const response = await fetch("clusters.json", { headers });
  clusters = response.ok ? await response.json() : null;
  return clusters;
}

// Codes of real digits, whose scores become the gauge's scale; none where they do not fit.
export async function openReading(real) {
  if (!real.length) {
    openGauge([]);
    return [];
  }
  const image = real.map((digit) => toNested(digit.image));
  const [scores, codes] = await Promise.all([
    predict("autoencoder", "anomaly_score", { image }),
    predict("autoencoder", "encode", { image }),
  ]);
  openGauge(scores);
  known = codes.map((code, i) => ({ code, label: real[i].label }));
  return codes;
}

// Reads a drawing and gives its code; null for an empty pad.
export async function readDrawing(digit) {
  if (!models.has("autoencoder")) return null;
  if (!hasInk(digit)) {
    show(byId("reconstruction"), blank());
    byId("looks").textContent = "";
    showStrangeness(null);
    return null;
  }
  const image = [toNested(digit)];
  const [[redrawn], [code], [score]] = await Promise.all([
    predict("autoencoder", "serving_default", { image }),
    predict("autoencoder", "encode", { image }),
    predict("autoencoder", "anomaly_score", { image }),
  ]);
  show(byId("reconstruction"), fromNested(redrawn));
  const isStrange = showStrangeness(score);
  byId("looks").textContent = isStrange
    ? "It looks like nothing the network knows."
    : likeness(code);
  return code;
}

const distance = (a, b) => Math.hypot(...a.map((value, i) => value - b[i]));

// Labels of the five real digits with the nearest codes, the nearest first.
export const nearestLabels = (code) =>
  known
    .map((other) => [distance(other.code, code), other.label])
    .sort((a, b) => a[0] - b[0])
    .slice(0, NEAREST)
    .map(([, label]) => label);

function likeness(code) {
  if (known.length) {
    const labels = nearestLabels(code),
      counts = labels.map((label) => labels.filter((other) => other === label).length);
    const most = Math.max(...counts);
    const howMany = `${most === NEAREST ? "all" : most} ${most === 1 ? "is" : "are"}`;
    const label = labels[counts.indexOf(most)];
    return `Of the ${NEAREST} real digits nearest to it, ${howMany} “${label}”.`;
  }
  if (!clusters) return "";
  const distances = clusters.centres.map((centre) => distance(centre, code));
  const { label, share } = clusters.members[distances.indexOf(Math.min(...distances))];
  const percent = Math.round(100 * share);
  return `Most like a group of images of which ${percent} in 100 are “${label}”.`;
}
