// The server's answers, or a Trouble that says what a person can do. Waits where the server asks for patience.
// Knows nothing of the page's elements but the key's dialog.

import { byId } from "/page/dom.js";

const KEPT = "seeworth-key";
const MOST_WAIT = 60; // seconds that one Retry-After may ask for

/** What went wrong, by kind: "photo" (it cannot be used), "server" (it failed), "gone" (nobody there), "key" (it is needed). */
export class Trouble extends Error {
  constructor(kind, words, code = "") {
    super(words);
    this.kind = kind;
    this.code = code;
  }
}

/** GET or, with a photo, POST it with what else is `given`. `waiting(words)` is told of patience, `signal` gives up. Raises Trouble. */
export async function ask(path, { photo, name, given, waiting, signal } = {}) {
  for (;;) {
    const said = await once(path, { photo, name, given, signal });
    if (said.ok) return read(said);
    if (said.status === 401) {
      await keyFor(said);
    } else if (said.status === 429 || (said.status === 503 && said.headers.has("Retry-After"))) {
      const seconds = Math.min(Math.max(Number(said.headers.get("Retry-After")) || 1, 0.1), MOST_WAIT);
      waiting?.(`${await whyWait(said)} Tried again in ${Math.ceil(seconds)} s.`);
      await pause(seconds, signal);
    } else {
      return refused(said);
    }
  }
}

/** A full queue is a busy server; what else asks for patience says why, as "the index is being made: come back later". */
async function whyWait(said) {
  const words = said.status === 429 ? "" : errorOf(await bodyOf(said)).message;
  return words ? `${words[0].toUpperCase()}${words.slice(1).replace(/: come back later$/, "")}.` : "The server is busy.";
}

async function once(path, { photo, name, given, signal }) {
  const key = sessionStorage.getItem(KEPT);
  let body;
  if (photo) {
    body = new FormData();
    body.append("photo", photo, name);
    for (const [field, value] of Object.entries(given ?? {})) body.append(field, value);
  }
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  try {
    const said = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal, cache: "no-store", credentials: "omit" });
    said.asked = key;
    return said;
  } catch (problem) {
    if (signal?.aborted) throw problem;
    if (photo && !(await isThere(photo))) throw new Trouble("photo", "The file was moved or changed since it was chosen: choose it again.");
    throw new Trouble("gone", "The server does not answer.");
  }
}

/** Whether a file can still be read: one that cannot makes a request fail as a server that is gone does. */
async function isThere(photo) {
  try {
    await photo.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function read(said) {
  try {
    return await said.json();
  } catch {
    throw new Trouble("gone", "The server broke off in the middle of its answer.");
  }
}

/** A 422 of predict carries each photo's own reason and is an answer; all else is Trouble in the server's words. */
async function refused(said) {
  const found = await bodyOf(said);
  if (found.predictions) return found;
  const { message, code } = errorOf(found);
  const kind = said.status >= 500 || said.status === 408 ? "server" : "photo";
  throw new Trouble(kind, message || `The server said ${said.status} ${said.statusText}`.trim(), code);
}

/** The JSON of an answer; {} for a proxy's page or nothing. */
async function bodyOf(said) {
  try {
    return (await said.json()) ?? {};
  } catch {
    return {};
  }
}

/** {message, code} of a refusal, "" where it says none. */
function errorOf(found) {
  const { message, code } = found.error ?? {};
  return { message: typeof message === "string" ? message : "", code: typeof code === "string" ? code : "" };
}

function pause(seconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
  });
}

let asking = null;

/** Ask the person for a key, once for all requests that need one. Raises Trouble when there is none. */
async function keyFor(said) {
  if (said.asked !== sessionStorage.getItem(KEPT)) return; // another request has a new one already
  asking ??= askKey(Boolean(said.asked)).finally(() => { asking = null; });
  await asking;
}

function askKey(wasWrong) {
  const dialog = byId("key"), value = byId("key-value");
  byId("key-words").textContent = wasWrong
    ? "The server does not take this key. Ask whoever runs it."
    : "Whoever runs the server has it. It is kept until you close this tab.";
  value.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  value.focus();
  return new Promise((done, fail) => {
    const given = () => {
      dialog.removeEventListener("close", given);
      const key = value.value.trim();
      value.value = "";
      if (dialog.returnValue !== "given" || !key) return fail(new Trouble("key", "The server asks for its key."));
      sessionStorage.setItem(KEPT, key);
      done();
    };
    dialog.addEventListener("close", given);
  });
}

/** Wire the dialog; its form closes with "given", Escape and "Not now" without. */
export function startKey() {
  byId("key-form").addEventListener("submit", (event) => { event.preventDefault(); byId("key").close("given"); });
  byId("key-close").addEventListener("click", () => byId("key").close(""));
}
