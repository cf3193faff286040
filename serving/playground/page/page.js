// Small helpers of the page's parts.

export const byId = (id) => document.getElementById(id);
export const randomSeed = () => Math.floor(Math.random() * 1e6); // short enough to be read out
export const pick = (list) => list[Math.floor(Math.random() * list.length)];
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export async function download(canvas, name) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
