// The code of the drawing as bars to drag; the autoencoder redraws from them.

import { latest, predict } from "./api.js";
import { blank, fromNested, show } from "./images.js";
import { byId, element } from "./page.js";

let bars = [],
  drawn = null,
  reach = 1;

// reach: the largest absolute value among real digits' codes, the bars' range.
export function openBars(codes) {
  reach = Math.max(1e-3, ...codes.flat().map(Math.abs));
  byId("bars-back").addEventListener("click", () => drawn && showCode(drawn));
  byId("bars-dice").addEventListener("click", () => {
    for (const bar of bars) setBar(bar, Number(bar.value) + reach * (Math.random() - 0.5) * 0.6);
    redraw();
  });
}

function setBar(bar, value) {
  bar.value = value;
  const at = 50 + (50 * Number(bar.value)) / reach;
  bar.style.setProperty("--from", `${Math.min(at, 50)}%`);
  bar.style.setProperty("--to", `${Math.max(at, 50)}%`);
}

// Shows the code of a drawing; null for an empty pad, which leaves the bars where they are.
export function showCode(code) {
  if (!code) {
    if (!bars.length) show(byId("redrawn"), blank());
    return;
  }
  drawn = code;
  reach = Math.max(reach, ...code.map(Math.abs));
  if (bars.length !== code.length) {
    bars = code.map((_, i) => {
      const bar = element("input", {
        type: "range",
        ariaLabel: `Number ${i + 1} of ${code.length}`,
      });
      bar.addEventListener("input", () => {
        setBar(bar, bar.value);
        redraw();
      });
      return bar;
    });
    byId("bars").replaceChildren(...bars);
    byId("bar-count").textContent = String(code.length);
  }
  bars.forEach((bar, i) => {
    Object.assign(bar, { min: -reach, max: reach, step: reach / 200 });
    setBar(bar, code[i]);
  });
  redraw();
}

function redraw() {
  latest("bars", async () => {
    const [image] = await predict("autoencoder", "decode", {
      code: [bars.map((bar) => Number(bar.value))],
    });
    show(byId("redrawn"), fromNested(image));
  });
}
