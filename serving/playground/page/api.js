// Requests to the model server, by TensorFlow Serving's REST contract only, and their errors.

import { byId } from "./page.js";

export class ServerError extends Error {}

export const models = new Map(); // name -> version
// Of this tab alone; empty if the server asks for none.
const token = sessionStorage.getItem("token") ?? "";
export const headers = token ? { Authorization: `Bearer ${token}` } : {};
let server = "";

async function ask(path, body) {
  let response;
  try {
    response = await fetch(server + path, {
      headers,
      ...(body && { method: "POST", body: JSON.stringify(body) }),
    });
  } catch {
    throw new ServerError(`The model server at ${server} does not answer. Is it running?`);
  }
  if (response.status === 401) {
    byId("access").hidden = false;
    throw new ServerError(
      token ? "The model server does not take this token." : "The model server asks for a token.",
    );
  }
  let answer;
  try {
    answer = JSON.parse((await response.text()).replace(/\b(NaN|-?Infinity)\b/g, "null"));
  } catch {
    throw new ServerError(`The model server answered with HTTP ${response.status} and no JSON.`);
  }
  if (!response.ok)
    throw new ServerError(`The model server says: ${answer.error ?? response.status}`);
  return answer;
}

export async function predict(model, signature, inputs) {
  const answer = await ask(`/v1/models/${model}:predict`, { signature_name: signature, inputs });
  return answer.outputs;
}

// Finds the server and its models. Fails only if none answers.
export async function connect() {
  const config = await (await fetch("config.json")).json();
  server = `${location.protocol}//${location.hostname}:${config.rest_port}`;
  const failures = [];
  await Promise.all(
    config.models.map(async (name) => {
      try {
        models.set(name, (await ask(`/v1/models/${name}/metadata`)).model_spec.version);
      } catch (error) {
        failures.push(error);
      }
    }),
  );
  if (failures.length && !models.size) throw failures[0];
}

// Runs one at a time for each key and keeps only the newest of those that wait.
const lanes = new Map();
export function latest(key, work) {
  const lane = lanes.get(key) ?? { busy: false, next: null };
  lanes.set(key, lane);
  lane.next = work;
  if (!lane.busy) drain(lane);
}

async function drain(lane) {
  lane.busy = true;
  while (lane.next) {
    const work = lane.next;
    lane.next = null;
    await told(work);
  }
  lane.busy = false;
}

// Runs work; shows the message of a failure, and clears it after a success.
export async function told(work) {
  const place = byId("error");
  try {
    await work();
    if (!place.dataset.complaint) place.hidden = true;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    place.textContent = error.message;
    place.hidden = false;
  }
}

export async function whilePressed(button, work) {
  button.disabled = true;
  await told(work);
  button.disabled = false;
}
