// Images: a Float32Array of 784 values in [0, 1], white ink on black. And the real digits.

import { element } from "./page.js";

export const SIDE = 28,
  PIXELS = SIDE * SIDE;
export const CLASSES = 10,
  EACH = 10; // of digits.png: a row for each class

export const blank = () => new Float32Array(PIXELS);
export const hasInk = (image) => image.some((value) => value > 0);

export const toNested = (image) =>
  Array.from({ length: SIDE }, (_, y) =>
    Array.from({ length: SIDE }, (_, x) => [Math.round(1e4 * image[y * SIDE + x]) / 1e4]),
  );
export const fromNested = (rows) => Float32Array.from(rows.flat(2));

export function show(canvas, image) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < PIXELS; i++) {
    const value = Math.round(255 * Math.min(1, Math.max(0, image[i])));
    data.data.set([value, value, value, 255], 4 * i);
  }
  context.putImageData(data, 0, 0);
}

export function digitCanvas(image, words) {
  const canvas = element("canvas", { width: SIDE, height: SIDE });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  show(canvas, image);
  return canvas;
}

// The red channel of a canvas, in [0, 1].
export function values(context, x, y, width, height) {
  const { data } = context.getImageData(x, y, width, height);
  return Float32Array.from({ length: width * height }, (_, i) => data[4 * i] / 255);
}

// One hundred real digits: [{image, label}], ten of each class in turn.
export async function realDigits() {
  const bitmap = await createImageBitmap(await (await fetch("digits.png")).blob());
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return Array.from({ length: CLASSES * EACH }, (_, i) => {
    const label = Math.floor(i / EACH);
    return { label, image: values(context, (i % EACH) * SIDE, label * SIDE, SIDE, SIDE) };
  });
}
