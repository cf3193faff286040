// What the autoencoder makes of the drawing: redrawn, how strange, like which digits.

import { headers, models, predict } from "./api.js";
import { openGauge, showStrangeness } from "./gauge.js";
import { blank, fromNested, hasInk, show, toNested } from "./images.js";
import { byId } from "./page.js";

let clusters = null;

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
    predict("autoencoder", "anomaly_score", { image }), predict("autoencoder", "encode", { image }),
  ]);
  openGauge(scores);
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
  byId("looks").textContent = isStrange ? "It looks like nothing the network knows." : nearest(code);
  return code;
}

function nearest(code) {
  if (!clusters) return "";
  const distances = clusters.centres.map((centre) => Math.hypot(...centre.map((value, i) => value - code[i])));
  const { label, share } = clusters.members[distances.indexOf(Math.min(...distances))];
  return `Most like a group of digits of which ${Math.round(100 * share)} in 100 are “${label}”.`;
}
