// The playground: connects to the server and joins the parts.

import { connect, latest, models, told, whilePressed } from "./api.js";
import { openBars, showCode } from "./bars.js";
import { openGame } from "./game.js";
import { hasInk, realDigits } from "./images.js";
import { openMap, setMapCode } from "./map.js";
import { openNoise, setNoiseDigit } from "./noise.js";
import { openPad, putOnPad } from "./pad.js";
import { byId, download, pick, randomSeed } from "./page.js";
import { loadClusters, openReading, readDrawing } from "./reading.js";
import { invented, openWall } from "./wall.js";
import { openWalk, setEnd } from "./walk.js";

const NAMES = {
  autoencoder: "autoencoder",
  diffusion: "diffusion model",
  gan: "generative adversarial network",
};
let digit = null,
  real = [];

function setDigit(image) {
  digit = image;
  delete byId("error").dataset.complaint;
  setNoiseDigit(image);
  latest("reading", async () => {
    const code = await readDrawing(image);
    showCode(code);
    setMapCode(code);
  });
}

// A sentence that stays until the drawing changes, whatever else succeeds.
function complain(sentence) {
  const place = byId("error");
  place.dataset.complaint = sentence;
  place.textContent = sentence;
  place.hidden = false;
}

const named = (names) => names.map((name) => NAMES[name]).join(" or the ");

// Parts without their model, or without digits that fit, say so in one line.
function hideMissing(digitsFit) {
  for (const part of document.querySelectorAll("[data-needs]")) {
    const names = part.dataset.needs.split("|");
    let why = "";
    if (!names.some((name) => models.has(name)))
      why = `This needs the ${named(names)}, which is not served here.`;
    else if ("real" in part.dataset && !digitsFit)
      why = "This compares with digits, and these models were trained on other images.";
    if (!why) continue;
    part.classList.add("missing");
    const line = document.createElement("p");
    line.className = "why";
    line.textContent = why;
    part.append(line);
  }
}

async function anyDigit() {
  const model = ["gan", "diffusion"].find((name) => models.has(name));
  if (model) return (await invented(model, randomSeed(), 1))[0];
  return pick(real).image;
}

async function open() {
  const clusters = models.has("autoencoder") ? await loadClusters() : null;
  const digitsFit = !clusters || clusters.members.every(({ label }) => /^\d$/.test(label));
  if (digitsFit) real = await realDigits();
  hideMissing(digitsFit);
  byId("served").textContent = [...models]
    .sort()
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
  byId("example").hidden = !real.length && !models.has("gan") && !models.has("diffusion");
  const codes = models.has("autoencoder") ? await openReading(real) : [];
  openNoise();
  openPad(setDigit, complain);
  byId("example").addEventListener("click", ({ currentTarget }) =>
    whilePressed(currentTarget, async () => putOnPad(await anyDigit(), true)),
  );
  byId("download").addEventListener("click", () => download(byId("pad"), "digit.png"));
  const tasks = [];
  if (models.has("autoencoder")) {
    openBars(codes);
    if (codes.length) openMap(real, codes);
    openWalk(() => (digit && hasInk(digit) ? digit : null), anyDigit);
    if (real.length) tasks.push(setEnd("a", real[25].image), setEnd("b", real[61].image));
  }
  if (models.has("gan") || models.has("diffusion")) {
    openWall((image) => {
      putOnPad(image, true);
      byId("draw-title").scrollIntoView({ block: "start" });
    });
    if (real.length) tasks.push(openGame(real));
  }
  if (real.length) putOnPad(pick(real).image, true);
  await Promise.all(tasks);
  if (models.has("gan")) byId("fill").click();
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  location.reload();
});
told(async () => {
  await connect();
  byId("parts").hidden = false;
  await open();
  document.body.dataset.ready = "yes";
});
