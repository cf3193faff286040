// A wall of invented digits that fills row by row.

import { ServerError, models, predict, whilePressed } from "./api.js";
import { SIDE, digitCanvas, fromNested } from "./images.js";
import { byId, download, element, randomSeed } from "./page.js";

const ROWS = 8,
  COLUMNS = 8,
  STEPS = 20;
const MODELS = { gan: "one stroke", diffusion: "many steps" };

// Digits of a model that draws them; the diffusion model does so in 20 steps.
export async function invented(model, seed, count) {
  const inputs = { seed, count, ...(model === "diffusion" && { steps: STEPS }) };
  return (await predict(model, "generate", inputs)).map(fromNested);
}

const chosen = () => document.querySelector("#wall-model input:checked").value;

function wallNumber() {
  const field = byId("wall-number");
  if (!field.checkValidity() || field.value === "")
    throw new ServerError("The number of the wall is a whole number from 0 to 999999.");
  return Number(field.value);
}

async function fill(onChoice) {
  const number = wallNumber(),
    model = chosen();
  byId("wall").replaceChildren(...Array.from({ length: ROWS * COLUMNS }, () => element("li")));
  byId("wall-download").disabled = true;
  const places = [...byId("wall").children];
  for (let row = 0; row < ROWS; row++) {
    const images = await invented(model, number * ROWS + row, COLUMNS);
    images.forEach((image, i) => {
      const button = element(
        "button",
        { ariaLabel: `Put digit ${row * COLUMNS + i + 1} on the pad` },
        digitCanvas(image, ""),
      );
      button.firstChild.setAttribute("aria-hidden", "true");
      button.addEventListener("click", () => onChoice(image));
      places[row * COLUMNS + i].append(button);
    });
  }
  byId("wall-download").disabled = false;
}

function saveWall() {
  const cell = 2 * SIDE + 4;
  const whole = element("canvas", { width: COLUMNS * cell + 4, height: ROWS * cell + 4 });
  const context = whole.getContext("2d");
  context.imageSmoothingEnabled = false;
  [...document.querySelectorAll("#wall canvas")].forEach((canvas, i) =>
    context.drawImage(
      canvas,
      4 + (i % COLUMNS) * cell,
      4 + Math.floor(i / COLUMNS) * cell,
      2 * SIDE,
      2 * SIDE,
    ),
  );
  download(whole, `wall-${byId("wall-number").value}.png`);
}

export async function openWall(onChoice) {
  const names = Object.keys(MODELS).filter((name) => models.has(name));
  byId("wall-model").append(
    ...names.map((name, i) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "wall-model", value: name, checked: i === 0 }),
        MODELS[name],
      ),
    ),
  );
  byId("wall-number").value = randomSeed();
  const button = byId("fill");
  let isFirst = true;
  byId("wall-number").addEventListener("change", () => {
    isFirst = true;
  });
  byId("wall-model").addEventListener("change", () => {
    isFirst = true;
  });
  button.addEventListener("click", () =>
    whilePressed(button, async () => {
      if (!isFirst) byId("wall-number").value = randomSeed(); // the same button gives another wall
      isFirst = true; // if it fails, the same again
      await fill(onChoice);
      isFirst = false;
    }),
  );
  byId("wall-download").addEventListener("click", saveWall);
}
