// The gauge of strangeness: a dial whose scale is made of real digits' own scores.

import { byId } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
const CENTRE = { x: 100, y: 112 },
  RADIUS = 78;
// Shares of the real digits that lie below, and where on the dial from 0 to 1; past all of them
// the scale goes on to FAR times the largest.
const MARKS = [
    [0, 0.03],
    [0.5, 0.27],
    [0.95, 0.52],
    [1, 0.66],
  ],
  FAR = 4;
let sorted = [];

function svg(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

const point = (at, radius) => {
  const angle = Math.PI * (1 - at);
  return [CENTRE.x + radius * Math.cos(angle), CENTRE.y - radius * Math.sin(angle)].map((v) =>
    v.toFixed(2),
  );
};
const arc = (from, to) => `M${point(from, RADIUS)} A${RADIUS} ${RADIUS} 0 0 1 ${point(to, RADIUS)}`;

// Makes the dial; scores are those of real digits, empty where they do not fit.
export function openGauge(scores) {
  sorted = [...scores].sort((a, b) => a - b);
  const drawing = svg("svg", { viewBox: "0 0 200 200", "aria-hidden": "true" });
  const ends = [
    [0, MARKS[2][1], "usual"],
    [MARKS[2][1], MARKS[3][1], "rare"],
    [MARKS[3][1], 1, "strange"],
  ];
  for (const [from, to, name] of ends)
    drawing.append(svg("path", { d: arc(from + 0.006, to - 0.006), class: `zone ${name}` }));
  for (const [share, at] of MARKS) {
    const [x, y] = point(at, RADIUS + 15);
    drawing.append(svg("text", { x, y, class: "tick" }, String(Math.round(100 * share))));
  }
  drawing.append(
    svg("line", {
      id: "needle",
      x1: CENTRE.x,
      y1: CENTRE.y,
      x2: CENTRE.x - RADIUS + 14,
      y2: CENTRE.y,
    }),
    svg("circle", { cx: CENTRE.x, cy: CENTRE.y, r: 6, class: "hub" }),
    svg("text", { id: "gauge-word", x: CENTRE.x, y: 152, class: "word" }, "–"),
    svg("text", { x: CENTRE.x, y: 176, class: "note" }, "scale: how many of 100 real"),
    svg("text", { x: CENTRE.x, y: 189, class: "note" }, "digits are less strange"),
  );
  byId("gauge").replaceChildren(drawing);
  showStrangeness(null);
}

const quantile = (share) => sorted[Math.round(share * (sorted.length - 1))];

function position(score) {
  const marks = [...MARKS.map(([share, at]) => [quantile(share), at]), [FAR * quantile(1), 1]];
  if (score <= marks[0][0]) return MARKS[0][1];
  for (let i = 1; i < marks.length; i++) {
    const [low, from] = marks[i - 1],
      [high, to] = marks[i];
    if (score <= high) return high > low ? from + ((to - from) * (score - low)) / (high - low) : to;
  }
  return 1;
}

// Shows a score, or nothing; says whether it is stranger than every real digit.
export function showStrangeness(score) {
  const gauge = byId("gauge"),
    words = byId("strange");
  const at = score === null || !sorted.length ? 0 : position(score);
  byId("needle").style.transform = `rotate(${180 * at}deg)`;
  gauge.ariaValueNow = String(Math.round(100 * at));
  let word = "–",
    sentence = "Draw something to see.";
  let isStrange = false;
  if (score !== null && !sorted.length)
    sentence = `Its score is ${score.toFixed(3)}; the higher, the stranger.`;
  else if (score !== null) {
    const below = sorted.filter((other) => other < score).length,
      all = sorted.length;
    isStrange = below === all;
    word = isStrange ? "strange" : below >= 0.95 * all ? "rare" : "usual";
    sentence = isStrange
      ? `Stranger than each of ${all} real digits.`
      : `Stranger than ${below} of ${all} real digits.`;
  }
  byId("gauge-word").textContent = word;
  words.textContent = sentence;
  gauge.setAttribute("aria-valuetext", score === null ? "nothing drawn" : sentence);
  return isStrange;
}
