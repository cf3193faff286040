// A film on a canvas: frames {image, words}, a button that plays and pauses, a slider.

import { show } from "./images.js";
import { isCalm } from "./page.js";

// onFrame(i) is called for each frame shown; give start to make the frames when play is pressed.
export function player({ canvas, button, slider, caption, start, wait = 220, end = 1800 }) {
  const plain = button.textContent;
  let frames = [],
    timer = null,
    at = 0,
    isMaking = false;

  function showFrame(i) {
    at = i;
    slider.value = i;
    if (!frames[i]) return;
    show(canvas, frames[i].image);
    caption.textContent = frames[i].words;
  }

  function pause() {
    clearTimeout(timer);
    timer = null;
    button.textContent = plain;
  }

  function step() {
    if (at + 1 < frames.length) showFrame(at + 1);
    else if (!isMaking) return pause();
    timer = setTimeout(step, at + 1 === frames.length && isMaking ? 50 : wait);
  }

  async function play() {
    if (timer !== null) return pause();
    if (!frames.length && start) await start();
    if (!frames.length) return;
    if (isCalm()) return showFrame(frames.length - 1);
    if (at + 1 >= frames.length && !isMaking) showFrame(0);
    button.textContent = "Pause";
    timer = setTimeout(step, wait);
  }

  button.addEventListener("click", play);
  slider.addEventListener("input", () => {
    pause();
    showFrame(Number(slider.value));
  });

  return {
    play,
    // Forgets the film, as what it shows has changed.
    reset() {
      pause();
      frames = [];
      slider.max = 0;
      at = 0;
    },
    making(is) {
      isMaking = is;
    },
    add(image, words) {
      frames.push({ image, words });
      slider.max = frames.length - 1;
      if (frames.length === 1) showFrame(0);
    },
    get count() {
      return frames.length;
    },
  };
}
