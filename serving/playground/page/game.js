// Real or invented? A pair a round, against the GAN's own critic where it is served.

import { models, predict, whilePressed } from "./api.js";
import { show, toNested } from "./images.js";
import { byId, pick, randomSeed } from "./page.js";
import { invented } from "./wall.js";

const FETCHED = 8; // invented digits at a time
const score = { rounds: 0, you: 0, critic: 0 };
let fakes = [],
  pair = null; // {fake: 0 or 1, isOpen, guess: the critic's choice}
const cards = [byId("card-0"), byId("card-1")];

async function deal(real) {
  const model = models.has("gan") ? "gan" : "diffusion";
  if (!fakes.length) fakes = await invented(model, randomSeed(), FETCHED);
  const fake = Math.round(Math.random()),
    images = [pick(real).image, fakes.pop()];
  if (!fake) images.reverse();
  let guess = null;
  if (models.has("gan")) {
    const chances = await predict("gan", "discriminate", { image: images.map(toNested) });
    guess = chances[0] < chances[1] ? 0 : 1; // the one that it takes for real less
  }
  pair = { fake, guess, isOpen: true };
  cards.forEach((card, i) => {
    show(card.firstElementChild, images[i]);
    card.classList.remove("right", "wrong");
  });
  byId("next").disabled = true;
  byId("verdict").textContent = "Keys 1 and 2 choose as well.";
}

function choose(i) {
  if (!pair?.isOpen) return;
  pair.isOpen = false;
  const isRight = i === pair.fake;
  score.rounds++;
  score.you += isRight;
  score.critic += pair.guess === pair.fake;
  cards[pair.fake].classList.add("right");
  if (!isRight) cards[i].classList.add("wrong");
  const side = pair.fake ? "right" : "left";
  byId("verdict").textContent =
    `${isRight ? "Right" : "Fooled"}: the ${side} one is invented.` +
    (pair.guess === null
      ? ""
      : ` The critic ${pair.guess === pair.fake ? "saw it too" : "fell for it"}.`);
  byId("score").textContent =
    `You ${score.you} of ${score.rounds}` +
    (pair.guess === null ? "" : ` · the network’s critic ${score.critic} of ${score.rounds}`);
  byId("next").disabled = false;
}

export async function openGame(real) {
  cards.forEach((card, i) => card.addEventListener("click", () => choose(i)));
  byId("next").addEventListener("click", ({ currentTarget }) =>
    whilePressed(currentTarget, async () => {
      await deal(real);
      cards[0].focus();
    }).then(() => {
      currentTarget.disabled = Boolean(pair?.isOpen);
    }),
  );
  byId("game-title")
    .closest("section")
    .addEventListener("keydown", (event) => {
      if (event.key === "1" || event.key === "2") choose(Number(event.key) - 1);
    });
  await deal(real);
}
