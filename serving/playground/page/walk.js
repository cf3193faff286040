// A walk between two drawings: codes on the line between theirs, redrawn.

import { latest, predict, whilePressed } from "./api.js";
import { digitCanvas, fromNested, show, toNested } from "./images.js";
import { byId, element, isCalm } from "./page.js";

const PLACES = 33,
  SHOWN = 9; // of the walk, and of those in the strip
const PLAY_MS = 4000; // once over and back
const ends = { a: null, b: null }; // {image, code}
let frames = [],
  started = 0;

export async function setEnd(end, image) {
  const [code] = await predict("autoencoder", "encode", { image: [toNested(image)] });
  ends[end] = { image, code };
  show(byId(`end-${end}`), image);
  latest("walk", makeFrames);
}

async function makeFrames() {
  if (!ends.a || !ends.b) return;
  const [from, to] = [ends.a.code, ends.b.code];
  const code = Array.from({ length: PLACES }, (_, i) =>
    from.map((value, k) => value + ((to[k] - value) * i) / (PLACES - 1)),
  );
  const images = await predict("autoencoder", "decode", { code });
  frames = images.map(fromNested);
  const every = (PLACES - 1) / (SHOWN - 1);
  byId("walk").replaceChildren(
    ...Array.from({ length: SHOWN }, (_, i) =>
      element("li", {}, digitCanvas(frames[i * every], `place ${i + 1} of ${SHOWN}`)),
    ),
  );
  showPlace();
}

function showPlace() {
  if (frames.length)
    show(byId("between"), frames[Math.round(Number(byId("way").value) * (PLACES - 1))]);
}

function stop() {
  started = 0;
  byId("walk-play").textContent = "Play";
}

function play(now) {
  if (!started) return;
  const turn = ((now - started) % PLAY_MS) / PLAY_MS;
  byId("way").value = turn < 0.5 ? 2 * turn : 2 - 2 * turn;
  showPlace();
  requestAnimationFrame(play);
}

// mine gives the drawing on the pad, or null; another gives any digit.
export function openWalk(mine, another) {
  byId("way").addEventListener("input", () => {
    stop();
    showPlace();
  });
  byId("walk-play").addEventListener("click", () => {
    if (started) return stop();
    if (isCalm()) {
      // one end, then the other
      byId("way").value = Number(byId("way").value) < 0.5 ? 1 : 0;
      return showPlace();
    }
    started = performance.now();
    byId("walk-play").textContent = "Pause";
    requestAnimationFrame(play);
  });
  for (const end of ["a", "b"]) {
    byId(`keep-${end}`).addEventListener("click", ({ currentTarget }) => {
      const image = mine();
      if (image) whilePressed(currentTarget, () => setEnd(end, image));
    });
    byId(`dice-${end}`).addEventListener("click", ({ currentTarget }) =>
      whilePressed(currentTarget, async () => setEnd(end, await another())),
    );
  }
}
