"use strict";
// The page works without this script. It marks the section in view, opens what a link leads to and
// what is printed, and makes every map of a code interactive: zoom, move, show a point's image.

// Paul Tol's "muted" scheme, distinct with any colour vision, and black; as in the static map. On a
// dark page its dark colours are lighter.
const LIGHT = ["#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE",
               "#882255", "#44AA99", "#999933", "#AA4499", "#000000"];
const DARK = ["#CC6677", "#8C7BE6", "#DDCC77", "#3FA564", "#88CCEE",
              "#C65A92", "#44AA99", "#A9A93F", "#C277B4", "#FFFFFF"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const ofPage = name => getComputedStyle(document.documentElement).getPropertyValue(name);
const THUMBNAIL = 28, PER_ROW = 64;        // pixels; images in a row of the sprite
const MOST = 80, STEP = 1.5, PAD = 24;     // largest zoom; one press of a button; CSS pixels
const IMAGES_FROM = 250;                   // so few points in view are drawn as their images

function startMap(root) {
  const {points, labels} = JSON.parse(root.querySelector(".points").textContent);
  const sprite = root.querySelector(".sprite");
  const stage = root.querySelector(".stage"), canvas = root.querySelector(".stage > canvas");
  const tip = root.querySelector(".tip"), digit = tip.querySelector("canvas");
  const words = tip.querySelector("span"), spoken = root.querySelector("output");
  const classes = [...new Set(labels)].sort((a, b) => a.localeCompare(b, "en", {numeric: true}));
  let colour = {};
  const view = {scale: 1, x: 0, y: 0};     // x, y: how far the middle has moved, CSS pixels
  let chosen = -1, shownClass = null, asked = false, pointing = false;

  // The longer side of the map becomes 1, its middle 0; y points up, as on the static picture.
  const xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  const [left, right] = ends(xs), [low, high] = ends(ys);
  const extent = Math.max(right - left, high - low) || 1;
  const world = points.map(([x, y]) => [(x - (left + right) / 2) / extent,
                                        ((low + high) / 2 - y) / extent]);
  const middles = classes.map(label => {
    const own = world.filter((_, i) => labels[i] === label);
    return [median(own.map(p => p[0])), median(own.map(p => p[1]))];
  });

  const width = () => stage.clientWidth, height = () => stage.clientHeight;
  const unit = () => (Math.min(width(), height()) - 2 * PAD) * view.scale;
  const place = ([x, y]) => [width() / 2 + view.x + x * unit(), height() / 2 + view.y + y * unit()];
  const isShown = i => shownClass === null || labels[i] === shownClass;

  function draw() {
    asked = false;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.round(width() * ratio);
    canvas.height = Math.round(height() * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const seen = [];
    world.forEach((point, i) => {
      const [x, y] = place(point);
      if (x > -20 && y > -20 && x < width() + 20 && y < height() + 20) seen.push([i, x, y]);
    });
    const asImages = sprite && sprite.naturalWidth && seen.length <= IMAGES_FROM;
    const radius = Math.min(2.2 * view.scale ** 0.35, 6);
    for (const [i, x, y] of seen) {
      pen.globalAlpha = isShown(i) ? (asImages ? 1 : 0.8) : 0.12;
      if (asImages) drawImage(pen, i, x, y);
      else disc(pen, x, y, radius, colour[labels[i]]);
    }
    pen.globalAlpha = 1;
    if (!asImages) classes.forEach((label, k) => write(pen, label, ...place(middles[k])));
    if (chosen >= 0 && asImages) drawImage(pen, chosen, ...place(world[chosen]));
    if (chosen >= 0) ring(pen, ...place(world[chosen]), asImages ? 19 : radius + 4);
    root.dataset.scale = view.scale.toFixed(3);
    root.dataset.chosen = chosen;
    placeTip();
  }

  function drawImage(pen, i, x, y) {
    const side = 24;
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = colour[labels[i]];
    pen.fillRect(x - side / 2 - 2, y - side / 2 - 2, side + 4, side + 4);
    pen.drawImage(sprite, ...cell(i), x - side / 2, y - side / 2, side, side);
  }

  function askToDraw() {
    if (!asked) { asked = true; requestAnimationFrame(draw); }
  }

  function zoom(factor, x = width() / 2, y = height() / 2) {
    const scale = Math.min(Math.max(view.scale * factor, 1), MOST), k = scale / view.scale;
    view.x = x - width() / 2 - (x - width() / 2 - view.x) * k;
    view.y = y - height() / 2 - (y - height() / 2 - view.y) * k;
    view.scale = scale;
    move(0, 0);
  }

  function move(dx, dy) {
    const far = unit() / 2 - (view.scale === 1 ? unit() / 2 : 0);  // nothing to see beyond
    view.x = Math.min(Math.max(view.x + dx, -far), far);
    view.y = Math.min(Math.max(view.y + dy, -far), far);
    // A finger scrolls the page over the whole map, and moves the map once it is zoomed.
    canvas.style.touchAction = view.scale > 1 ? "none" : "pan-y";
    askToDraw();
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    world.forEach((point, i) => {
      const [px, py] = place(point), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least && isShown(i)) { least = d; best = i; }
    });
    return best;
  }

  function choose(i) {
    if (i === chosen) return;
    chosen = i;
    if (i >= 0) {
      const text = `class ${labels[i]}`;
      words.replaceChildren(Object.assign(document.createElement("b"), {textContent: text}),
                            document.createElement("br"),
                            `image ${(i + 1).toLocaleString("en")} of ${points.length.toLocaleString("en")}`);
      digit.hidden = !(sprite && sprite.naturalWidth);
      if (!digit.hidden) digit.getContext("2d").drawImage(sprite, ...cell(i), 0, 0, THUMBNAIL, THUMBNAIL);
      spoken.textContent = words.innerText || text;
    }
    askToDraw();
  }

  function placeTip() {
    tip.hidden = chosen < 0;
    if (tip.hidden) return;
    const [x, y] = place(world[chosen]), w = tip.offsetWidth, h = tip.offsetHeight;
    // Next to the dot, or above or below it if the map is too narrow.
    const isNarrow = width() < 2 * w + 36;
    const aside = x + 18 + w > width() ? x - 18 - w : x + 18, above = y - 18 - h < 0 ? y + 18 : y - 18 - h;
    tip.style.left = `${Math.max(6, Math.min(isNarrow ? x - w / 2 : aside, width() - w - 6))}px`;
    tip.style.top = `${Math.max(6, Math.min(isNarrow ? above : y - h / 2, height() - h - 6))}px`;
  }

  // The next point in a direction: near, and more ahead than aside.
  function step(dx, dy) {
    if (chosen < 0) return choose(nearest(width() / 2, height() / 2, Infinity));
    const [x, y] = place(world[chosen]);
    let best = -1, least = Infinity;
    world.forEach((point, i) => {
      const [px, py] = place(point), ahead = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx), d = ahead + 2 * aside;
      if (i !== chosen && isShown(i) && ahead > 0 && aside <= ahead && d < least) { least = d; best = i; }
    });
    if (best < 0) return;
    choose(best);
    const [px, py] = place(world[best]);
    if (px < PAD || py < PAD || px > width() - PAD || py > height() - PAD)
      move(width() / 2 - px, height() / 2 - py);
  }

  const held = new Map();                  // pointers that are down, by id
  let travelled = 0;
  const at = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", event => {
    held.set(event.pointerId, at(event));
    travelled = 0;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    const [x, y] = at(event), before = held.get(event.pointerId);
    pointing = true;
    if (!before) return choose(nearest(x, y, 16));
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    held.set(event.pointerId, [x, y]);
    travelled += Math.hypot(x - before[0], y - before[1]);
    if (!other) return move(x - before[0], y - before[1]);
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const is = Math.hypot(x - other[0], y - other[1]);
    move((x - before[0]) / 2, (y - before[1]) / 2);
    zoom(was ? is / was : 1, (x + other[0]) / 2, (y + other[1]) / 2);
  });
  const release = event => held.delete(event.pointerId);
  canvas.addEventListener("pointerup", event => {
    if (held.size === 1 && travelled < 8) choose(nearest(...at(event), event.pointerType === "touch" ? 28 : 16));
    release(event);
  });
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") choose(-1); });

  // The wheel zooms where the mouse was moved over the map, not where the page's scrolling led it.
  window.addEventListener("scroll", () => { pointing = false; }, {passive: true});
  canvas.addEventListener("wheel", event => {
    const outAtTheEnd = event.deltaY > 0 && view.scale === 1;
    if ((!pointing && !event.ctrlKey && document.activeElement !== canvas) || outAtTheEnd) return;
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    zoom(Math.exp(-Math.min(Math.max(pixels, -200), 200) * (event.ctrlKey ? 0.01 : 0.002)), ...at(event));
  }, {passive: false});

  const reset = () => { Object.assign(view, {scale: 1, x: 0, y: 0}); move(0, 0); };
  const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  const keys = {"+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), "0": reset,
                Escape: () => choose(-1)};
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = arrows[event.key];
    if (arrow && event.shiftKey) move(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow) step(...arrow);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  const onto = () => chosen >= 0 ? place(world[chosen]) : [];
  root.querySelector(".in").addEventListener("click", () => zoom(STEP, ...onto()));
  root.querySelector(".out").addEventListener("click", () => zoom(1 / STEP, ...onto()));
  root.querySelector(".all").addEventListener("click", reset);

  for (const label of classes) {
    const button = document.createElement("button"), dot = document.createElement("i");
    button.type = "button";
    button.append(dot, label);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      shownClass = shownClass === label ? null : label;
      for (const other of root.querySelectorAll(".classes button"))
        other.setAttribute("aria-pressed", String(other === button && shownClass !== null));
      askToDraw();
    });
    root.querySelector(".classes").append(button);
  }

  function paint() {
    const entries = classes.map((label, i) => [label, classColour(i, classes.length)]);
    colour = Object.fromEntries(entries);
    root.querySelectorAll(".classes i").forEach((dot, i) => { dot.style.background = entries[i][1]; });
    askToDraw();
  }
  dark.addEventListener("change", paint);
  paint();

  root.hidden = false;
  for (const still of document.querySelectorAll(`[data-still="${root.id}"]`)) still.hidden = true;
  new ResizeObserver(askToDraw).observe(stage);
  if (sprite) sprite.decode().then(askToDraw, () => {});
}

const ends = values => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
const median = values => values.sort((a, b) => a - b)[values.length >> 1];
const cell = i => [(i % PER_ROW) * THUMBNAIL, Math.floor(i / PER_ROW) * THUMBNAIL, THUMBNAIL, THUMBNAIL];
function classColour(i, count) {
  const few = dark.matches ? DARK : LIGHT, darkest = dark.matches ? 35 : 15;
  return count <= few.length ? few[i] : `hsl(220 45% ${darkest + 60 * i / (count - 1)}%)`;
}

function disc(pen, x, y, radius, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
}

function ring(pen, x, y, radius) {
  for (const [colour, line] of [[ofPage("--paper"), 5], [ofPage("--ink"), 2.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.stroke();
  }
}

function write(pen, words, x, y) {
  pen.font = "bold 20px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = 5;
  pen.strokeStyle = ofPage("--paper");
  pen.strokeText(words, x, y);
  pen.fillStyle = ofPage("--ink");
  pen.fillText(words, x, y);
}

function markSection() {
  const links = [...document.querySelectorAll("nav.contents a")];
  const targets = links.map(link => document.getElementById(link.hash.slice(1)));
  const bar = document.querySelector("nav.contents > ul");
  let current = null, waiting = false;
  const mark = () => {
    waiting = false;
    const passed = links.filter((link, i) => link.offsetParent && targets[i].getBoundingClientRect().top < 140);
    const link = passed.at(-1) || links[0];
    if (link === current) return;
    current?.removeAttribute("aria-current");
    current = link;
    link.setAttribute("aria-current", "true");
    bar.scrollTo({left: link.offsetLeft - bar.clientWidth / 2 + link.offsetWidth / 2});
  };
  window.addEventListener("scroll", () => {
    if (!waiting) { waiting = true; requestAnimationFrame(mark); }
  }, {passive: true});
  mark();
}

function openParts() {
  const open = hash => {
    const target = hash ? document.getElementById(hash.slice(1)) : null;
    for (let part = target?.closest("details"); part; part = part.parentElement.closest("details"))
      part.open = true;
    return target;
  };
  const arrive = () => open(location.hash)?.scrollIntoView();
  document.addEventListener("click", event => open(event.target.closest("a")?.hash));
  window.addEventListener("hashchange", arrive);
  arrive();
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  window.addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
}

for (const root of document.querySelectorAll(".map")) startMap(root);
markSection();
openParts();
