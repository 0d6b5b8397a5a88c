// The page: photos come in, are prepared two at a time and asked about four at a time, and each answer is painted on its card.
//
//   shot.state   waiting -> asked -> answered | failed; back to waiting when the server is gone or the key is missing
//
// Everything lives in `shots`, newest batch first; nothing is kept when the page closes, but the key until the tab does.

import { ask, startKey, Trouble } from "/page/api.js";
import { startCamera } from "/page/camera.js";
import { newCard, paint, paintPhoto, paintScales, rangeOf, surety } from "/page/card.js";
import { domainOf } from "/page/charts.js";
import { save, table, written } from "/page/corrections.js";
import { byId, count, make, plain, say, shown } from "/page/dom.js";
import { startIntake } from "/page/intake.js";
import { prepare } from "/page/photos.js";

const ASKED_AT_ONCE = 4, PREPARED_AT_ONCE = 2;

let task = null;
let shots = [];
let domains = {};
let number = 0;
let unsaved = false;

/** Jobs done a few at a time, in order; none is started while it is paused. */
class Line {
  constructor(most) {
    Object.assign(this, { most, jobs: [], running: 0, paused: false });
  }
  add(job) {
    this.jobs.push(job);
    this.go();
  }
  pause(paused) {
    this.paused = paused;
    this.go();
  }
  go() {
    while (!this.paused && this.running < this.most && this.jobs.length) {
      this.running += 1;
      this.jobs.shift()().finally(() => { this.running -= 1; this.go(); });
    }
  }
}

const preparing = new Line(PREPARED_AT_ONCE), asking = new Line(ASKED_AT_ONCE);
preparing.paused = asking.paused = true; // until the server has said its task

const STATES = {
  all: ["all", () => true],
  unsure: ["to look at", (shot) => shot.state === "answered" && !shot.checked && (shot.answer.abstain || shot.answer.problems.length > 0)],
  failed: ["without an answer", (shot) => shot.state === "failed"],
  unchecked: ["not checked", (shot) => shot.state === "answered" && !shot.checked],
  checked: ["checked", (shot) => Boolean(shot.checked)],
};

// ---- the server

async function start() {
  try {
    task = await ask("/v1/task");
  } catch (problem) {
    return lost(problem);
  }
  const names = task.fields.map((one) => plain(one.name));
  const list = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
  byId("about").textContent = `${task.model} looks at each photo and says its ${list}. It is asked: “${task.question}”`;
  document.title = `${task.model}: ask about photos`;
  byId("choices").replaceChildren(...task.fields.filter((one) => one.choices?.length).map((one) =>
    make("datalist", { id: `choices-${one.name}` }, one.choices.map((choice) => make("option", { value: choice })))));
  askFirst(task.asks_for ?? []);
  preparing.pause(false);
  asking.pause(Boolean(unsaid()));
}

/** Fields that the question itself names: they are said here, and go with every photo from then on. */
function askFirst(names) {
  if (byId("first").dataset.names === names.join()) return;
  byId("first").dataset.names = names.join();
  byId("first").hidden = !names.length;
  byId("first").replaceChildren(make("p", {}, "The question needs to be told this first; photos wait until it is said."), ...names.map((name) =>
    make("p", {}, make("label", { for: `first-${name}` }, plain(name)), make("input", { id: `first-${name}`, name, autocomplete: "off", maxlength: 300, onchange: () => asking.pause(Boolean(unsaid())) }))));
}

const firsts = () => [...byId("first").querySelectorAll("input")];
const unsaid = () => firsts().find((one) => !one.value.trim());
const given = () => (firsts().length ? Object.fromEntries(firsts().map((one) => [one.name, one.value.trim()])) : null);

/** The server is gone or wants a key: everything stays as it is until the person says go on. */
function lost(problem) {
  preparing.pause(true);
  asking.pause(true);
  const waiting = shots.filter((one) => one.state === "waiting").length;
  if (!task) byId("about").textContent = "The server has not said yet what it answers.";
  byId("trouble-words").textContent = problem.message + (waiting ? ` ${count(waiting, "photo")} wait${waiting === 1 ? "s" : ""} here.` : "");
  byId("trouble").hidden = false;
}

byId("again").addEventListener("click", () => {
  byId("trouble").hidden = true;
  byId("choose").focus();
  start();
});

// ---- photos in, answers out

/** Take files; each becomes a card. */
function add(files) {
  files = [...files];
  notice(files.length ? "" : "There was no photo file in that: save the picture first, then drop the file.");
  if (!files.length) return;
  const made = files.map((file) => ({ number: ++number, file, name: file.name || "photo", state: "waiting", words: "", checked: "", ends: new AbortController() }));
  shots.unshift(...made);
  byId("cards").prepend(...made.map((shot) => newCard(shot, wish)));
  for (const shot of made) {
    paint(shot, task, domains, wish);
    preparing.add(() => ready(shot));
  }
  if (made.length > 1) say(`${count(made.length, "photo")} added.`);
  unsaid()?.focus();
  overview();
}

async function ready(shot) {
  if (shot.ends.signal.aborted) return;
  try {
    const found = await prepare(shot.file, task.limits);
    if (shot.ends.signal.aborted) return;
    Object.assign(shot, { blob: found.blob, width: found.width, height: found.height, changed: found.changed });
    shot.url = found.thumb && URL.createObjectURL(found.thumb);
    shot.file = null;
    paintPhoto(shot);
    asking.add(() => answer(shot));
  } catch (problem) {
    failed(shot, problem);
  }
}

async function answer(shot) {
  if (shot.ends.signal.aborted) return;
  shot.given ??= given();
  state(shot, "asked");
  const waiting = (why) => state(shot, "asked", why);
  try {
    const { predictions: [found] } = await ask("/v1/predict", { photo: shot.blob, name: shot.name, given: shot.given, signal: shot.ends.signal, waiting });
    if (found.error) throw new Trouble("photo", found.error.message, found.error.code);
    shot.answer = { problems: [], values: {}, ...found };
    state(shot, "answered");
    announce(shot);
  } catch (problem) {
    failed(shot, problem);
  }
}

function failed(shot, problem) {
  if (shot.ends.signal.aborted) return;
  const trouble = problem instanceof Trouble ? problem : new Trouble("server", `This page stumbled: ${problem.message}`);
  if (trouble.kind === "gone" || trouble.kind === "key") {
    state(shot, "waiting", "Waits for the server.");
    asking.jobs.unshift(() => answer(shot));
    return lost(trouble);
  }
  shot.trouble = trouble;
  state(shot, "failed");
  say(`${shot.name}: ${trouble.message}`);
}

function state(shot, now, words = "") {
  Object.assign(shot, { state: now, words });
  if (now === "answered" || now === "failed") rescale();
  paint(shot, task, domains, wish);
  overview();
}

/** One answer in full; of many, how far it has come, and then the end. */
function announce(shot) {
  const left = shots.filter((one) => one.state === "waiting" || one.state === "asked").length;
  const done = shots.length - left;
  if (left > 2 && done % 10) return;
  const words = task.fields.map((one) => (shot.answer.values[one.name] === undefined ? `${plain(one.name)} not read` : shown(one, shot.answer.values[one.name])));
  const sure = surety(shot, task);
  say(left > 2 ? `${done} of ${shots.length} done.` : `${shot.name}: ${words.join(", ")}${sure ? `, ${sure}` : ""}.${left ? "" : shots.length > 1 ? " All done." : ""}`);
}

/** The scale that all cards share; where it moved, all scales are drawn anew. */
function rescale() {
  const before = JSON.stringify(domains);
  domains = {};
  for (const field of task.fields.filter((one) => one.kind === "number")) {
    const answered = shots.filter((one) => one.state === "answered" && typeof one.answer.values[field.name] === "number");
    const marks = answered.map((one) => ({ point: one.answer.values[field.name], ...rangeOf(one, field) }));
    if (marks.length > 1 || marks.some((one) => one.low !== undefined)) domains[field.name] = domainOf(marks);
  }
  if (JSON.stringify(domains) !== before) for (const shot of shots) paintScales(shot, task, domains);
}

// ---- what the person wishes of a card

const wish = {
  remove(shot) {
    const place = shots.indexOf(shot);
    drop([shot]);
    (shots[Math.min(place, shots.length - 1)]?.card ?? byId("choose")).focus();
  },
  retry(shot) {
    shot.parts.actions.replaceChildren();
    shot.given = null;
    state(shot, "waiting");
    if (shot.blob) asking.add(() => answer(shot));
    else preparing.add(() => ready(shot));
    shot.card.focus();
  },
  right(shot) {
    const off = shot.checked === "right";
    shot.checked = off ? "" : "right";
    shot.values = off ? null : Object.fromEntries(task.fields.map(({ name }) => [name, written(shot.answer.values[name])]));
    unsaved = true;
    wish.changed(shot);
    say(off ? `${shot.name}: not checked.` : `${shot.name}: right.`);
  },
  correct(shot, values) {
    const same = task.fields.every(({ name }) => values[name] === written(shot.answer.values[name]));
    Object.assign(shot, { values, checked: same ? "right" : "corrected" });
    unsaved = true;
    say(`${shot.name}: ${same ? "right" : "corrected"}.`);
  },
  changed(shot) {
    paint(shot, task, domains, wish);
    overview();
  },
};

function drop(gone) {
  for (const shot of gone) {
    shot.ends.abort();
    if (shot.url) URL.revokeObjectURL(shot.url);
    shot.card.remove();
  }
  shots = shots.filter((one) => !gone.includes(one));
  if (task) rescale();
  overview();
}

// ---- the overview of all cards

function overview() {
  const counts = Object.fromEntries(Object.entries(STATES).map(([key, [, test]]) => [key, shots.filter(test).length]));
  for (const option of byId("show").options) option.textContent = `${STATES[option.value][0]} (${counts[option.value]})`;
  const answered = shots.filter((one) => one.state === "answered").length, under = shots.length - answered - counts.failed;
  const parts = [`${answered} answered`, counts.unsure && `${counts.unsure} to look at`, under && `${under} under way`, counts.failed && `${counts.failed} without an answer`];
  byId("counts").textContent = `${count(shots.length, "photo")}: ${parts.filter(Boolean).join(", ")}`;
  byId("bar").hidden = byId("answers").hidden = !shots.length;
  byId("save").hidden = !counts.checked;
  byId("checked").textContent = counts.checked
    ? `${count(counts.checked, "answer")} checked, with ${counts.checked === 1 ? "its photo" : "their photos"}:`
    : "Say of each answer whether it is right, or correct it; then take them home as training data.";
  filter();
}

function filter() {
  const [, test] = STATES[byId("show").value];
  let seen = 0;
  for (const shot of shots) {
    const keep = test(shot) || shot.card.contains(document.activeElement); // what is being worked on does not vanish under the hand
    shot.card.hidden = !keep;
    seen += keep ? 1 : 0;
  }
  byId("none").hidden = seen > 0 || !shots.length;
  byId("clear").textContent = seen === shots.length ? "Remove all" : `Remove these ${seen}`;
  byId("clear").disabled = !seen;
}

byId("show").append(...Object.keys(STATES).map((key) => make("option", { value: key })));
byId("show").addEventListener("change", filter);
byId("clear").addEventListener("click", () => {
  const seen = shots.filter((one) => !one.card.hidden);
  const checked = seen.filter((one) => one.checked).length;
  if (unsaved && checked && !window.confirm(`${count(checked, "checked answer")} among them ${checked === 1 ? "is" : "are"} not downloaded. Remove all the same?`)) return;
  drop(seen);
  byId("choose").focus();
});

byId("download").addEventListener("click", async () => {
  const button = byId("download"), form = byId("form").value;
  button.disabled = true;
  try {
    const found = await table(form, shots.filter((one) => one.checked), task.fields, task.asks_for ?? [], task.model);
    if (found.rows) save(found.blob, `corrections.${form}`);
    unsaved = found.lost.length > 0;
    notice(found.lost.length ? `Left out: ${found.lost.join(", ")}. ${form === "csv" ? "The photo is too large for a CSV cell and this browser cannot make it smaller: take JSONL." : "The file is no longer there."}` : "");
    say(`${count(found.rows, "answer")} downloaded.`);
  } finally {
    button.disabled = false;
    button.focus();
  }
});

function notice(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}

window.addEventListener("beforeunload", (event) => { if (unsaved && shots.some((one) => one.checked)) event.preventDefault(); });

startKey();
startCamera(add);
startIntake(add);
start();
