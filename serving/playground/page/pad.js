// The pad: pen, eraser, undo, keys, pictures from outside; gives the digit as MNIST's are prepared.

import { SIDE, blank, hasInk, show, values } from "./images.js";
import { byId, element } from "./page.js";

const BOX = 20; // MNIST scales the ink to 20 x 20 and centres its mass on 28 x 28
const UNDOS = 30,
  KEY_STEP = 16;
const canvas = byId("pad"),
  ink = canvas.getContext("2d", { willReadFrequently: true });
const { width, height } = canvas;
const pen = { x: width / 2, y: height / 2, down: false, pointer: null };
const before = []; // {pixels, digit, isExample} before each change
let digit = blank(); // as the networks see it
let isExample = false; // the first stroke replaces an example
let changed = () => {};

// ---- The state ----

function remember() {
  before.push({ pixels: ink.getImageData(0, 0, width, height), digit, isExample });
  if (before.length > UNDOS) before.shift();
  byId("undo").disabled = false;
}

function undo() {
  const kept = before.pop();
  byId("undo").disabled = !before.length;
  if (!kept) return;
  ink.putImageData(kept.pixels, 0, 0);
  isExample = kept.isExample;
  changed(kept.digit);
}

function wipe() {
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, width, height);
  isExample = false;
}

function clear() {
  remember();
  wipe();
  read();
}

const read = () => changed(prepared());

// Puts a digit on the pad as it is; an example goes away at the first stroke.
export function putOnPad(image, example = false) {
  remember();
  const small = element("canvas", { width: SIDE, height: SIDE });
  show(small, image);
  ink.imageSmoothingEnabled = true;
  ink.imageSmoothingQuality = "high";
  ink.drawImage(small, 0, 0, width, height);
  isExample = example;
  changed(image);
}

// ---- Drawing ----

function begin() {
  remember();
  if (isExample) wipe();
}

function line(x, y) {
  ink.strokeStyle = byId("eraser").ariaPressed === "true" ? "#000" : "#fff";
  ink.lineWidth = Number(byId("width").value);
  ink.lineCap = ink.lineJoin = "round";
  ink.beginPath();
  ink.moveTo(pen.x, pen.y);
  ink.lineTo(x + 0.01, y);
  ink.stroke();
  move(x, y);
  read();
}

function move(x, y) {
  [pen.x, pen.y] = [x, y];
  const nib = byId("nib");
  nib.style.left = `${(100 * x) / width}%`;
  nib.style.top = `${(100 * y) / height}%`;
  nib.classList.toggle("down", pen.down);
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * width) / box.width,
    ((event.clientY - box.top) * height) / box.height,
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (pen.pointer !== null) return;
  canvas.setPointerCapture(event.pointerId);
  pen.pointer = event.pointerId;
  begin();
  [pen.x, pen.y] = place(event);
  line(pen.x, pen.y);
});
canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pen.pointer) return;
  for (const part of event.getCoalescedEvents?.() ?? []) line(...place(part));
  line(...place(event));
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, (event) => {
    if (event.pointerId === pen.pointer) pen.pointer = null;
  });

canvas.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    event.key
  ];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (way) {
    const x = Math.min(width, Math.max(0, pen.x + KEY_STEP * way[0]));
    const y = Math.min(height, Math.max(0, pen.y + KEY_STEP * way[1]));
    if (pen.down) line(x, y);
    else move(x, y);
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) {
      begin();
      line(pen.x, pen.y);
    } else move(pen.x, pen.y);
  } else if (event.key === "Delete" || event.key === "Backspace") clear();
  else return;
  event.preventDefault();
});

// ---- As the networks see it ----

function prepared() {
  const all = values(ink, 0, 0, width, height);
  let left = width,
    right = -1,
    top = height,
    bottom = -1;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (all[y * width + x] > 0.2) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  if (right < 0) return blank();
  const wide = right - left + 1,
    high = bottom - top + 1,
    scale = BOX / Math.max(wide, high);
  const small = element("canvas", { width: SIDE, height: SIDE });
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  const paint = (dx, dy) => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.drawImage(canvas, left, top, wide, high, dx, dy, wide * scale, high * scale);
    return values(context, 0, 0, SIDE, SIDE);
  };
  const margin = (SIDE - BOX) / 2,
    first = paint(margin, margin);
  let mass = 0,
    sumX = 0,
    sumY = 0;
  first.forEach((value, i) => {
    mass += value;
    sumX += value * (i % SIDE);
    sumY += value * Math.floor(i / SIDE);
  });
  const centre = (SIDE - 1) / 2;
  return mass
    ? paint(margin + Math.round(centre - sumX / mass), margin + Math.round(centre - sumY / mass))
    : first;
}

// ---- Pictures from outside ----

// Grey, white on black: paper is what lies along the edges, ink what differs from it.
async function putPicture(file, complain) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    complain("This file is no picture that the browser can read.");
    return;
  }
  remember();
  wipe();
  const scale = Math.min(width / bitmap.width, height / bitmap.height);
  const wide = bitmap.width * scale,
    high = bitmap.height * scale;
  const x0 = Math.round((width - wide) / 2),
    y0 = Math.round((height - high) / 2);
  ink.fillStyle = "#fff"; // under what is transparent
  ink.fillRect(x0, y0, wide, high);
  ink.drawImage(bitmap, x0, y0, wide, high);
  const [w, h] = [Math.max(1, Math.floor(wide)), Math.max(1, Math.floor(high))];
  const picture = ink.getImageData(x0, y0, w, h),
    grey = new Float32Array(w * h),
    edges = [];
  for (let i = 0; i < w * h; i++) {
    const [red, green, blue] = picture.data.subarray(4 * i, 4 * i + 3);
    grey[i] = 0.299 * red + 0.587 * green + 0.114 * blue;
    const x = i % w,
      y = Math.floor(i / w);
    if (x === 0 || y === 0 || x === w - 1 || y === h - 1) edges.push(grey[i]);
  }
  const paper = edges.sort((a, b) => a - b)[edges.length >> 1];
  const most = grey.reduce((found, value) => Math.max(found, Math.abs(value - paper)), 1);
  for (let i = 0; i < w * h; i++) {
    const share = Math.abs(grey[i] - paper) / most; // below a quarter: shadows and grain
    const value = 255 * Math.min(1, Math.max(0, (share - 0.25) / 0.5));
    picture.data.set([value, value, value, 255], 4 * i);
  }
  wipe();
  ink.putImageData(picture, x0, y0);
  read();
}

// Calls onChange with the digit as the networks see it, complain with a sentence.
export function openPad(onChange, complain) {
  changed = (image) => {
    digit = image;
    show(byId("input"), image);
    byId("download").disabled = !hasInk(image);
    onChange(image);
  };
  wipe();
  move(pen.x, pen.y);
  changed(blank());
  byId("clear").addEventListener("click", clear);
  byId("undo").addEventListener("click", undo);
  byId("eraser").addEventListener("click", ({ currentTarget }) => {
    currentTarget.ariaPressed = String(currentTarget.ariaPressed !== "true");
  });
  byId("upload").addEventListener("change", ({ target }) => {
    if (target.files[0]) putPicture(target.files[0], complain);
    target.value = "";
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) putPicture(file, complain);
  });
  canvas.addEventListener("dragover", (event) => event.preventDefault());
  canvas.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) putPicture(event.dataTransfer.files[0], complain);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    if (event.target.matches("input:is([type=number], [type=password])")) return;
    event.preventDefault();
    undo();
  });
}
