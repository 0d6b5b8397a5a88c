// One photo's card: what is under way, the answer with its scale and how sure it is, what the person said of it, or why there is none.
// Knows nothing of the queue; what was pressed is told through `wish`, see page.js.

import { bar, scale } from "/page/charts.js";
import { check, written } from "/page/corrections.js";
import { about, amount, make, percent, plain, shown } from "/page/dom.js";
import { viewsOf } from "/page/views.js";

/** A card for a shot, empty but for its name; `paint` fills it. */
export function newCard(shot, wish) {
  const title = `name-${shot.number}`;
  shot.parts = {
    photo: make("div", { class: "photo" }),
    state: make("div", { class: "state" }),
    fields: make("dl", { class: "fields" }),
    views: make("div", { class: "views" }),
    form: make("div", { class: "form" }),
    actions: make("div", { class: "actions" }),
  };
  const gone = make("button", { type: "button", class: "quiet", "aria-label": `Remove ${shot.name}`, title: "Remove", onclick: () => wish.remove(shot) }, "×");
  const head = make("div", { class: "head" }, make("h3", { id: title, title: shot.name }, shot.name), gone);
  const { photo, state, fields, views, form, actions } = shot.parts;
  shot.card = make("article", { "aria-labelledby": title, tabindex: "-1" }, photo, head, state, fields, form, actions, views);
  return shot.card;
}

/** The photo, once it is prepared; where the browser cannot open it, words. */
export function paintPhoto(shot) {
  const { width, height } = shot;
  const inside = shot.url
    ? make("img", { src: shot.url, alt: "Your photo", width, height })
    : make("p", {}, "This browser cannot show this photo.");
  shot.parts.photo.replaceChildren(inside);
}

/** All of a card from its shot's state. */
export function paint(shot, task, domains, wish) {
  shot.card.dataset.state = shot.state;
  shot.card.setAttribute("aria-busy", String(shot.state === "waiting" || shot.state === "asked"));
  const { state, fields, actions, views, form } = shot.parts;
  state.replaceChildren(...states(shot, task));
  if (shot.given) state.append(...Object.entries(shot.given).map(([name, value]) => make("p", { class: "given" }, `${plain(name)}: ${value}`)));
  if (shot.state === "failed") {
    const again = shot.trouble.kind === "server" || (shot.blob && shot.given); // what was said first may be what was wrong
    actions.replaceChildren(...(again ? [make("button", { type: "button", onclick: () => wish.retry(shot) }, "Try again")] : []));
  }
  if (shot.state !== "answered") return;
  fields.replaceChildren(...task.fields.flatMap((field) => valueOf(shot, field, task)));
  paintScales(shot, task, domains);
  paintActions(shot, task, wish);
  if (!views.children.length) views.append(...viewsOf(shot, task));
  if (!shot.editing) form.replaceChildren();
}

function strip(tone, mark, words, ...more) {
  return make("p", { class: `said ${tone}` }, mark && make("span", { class: "mark", "aria-hidden": "true" }, mark), words, ...more);
}

function states(shot, task) {
  if (shot.state === "waiting") return [make("p", { class: "under-way" }, shot.words || "Waits for its turn…")];
  if (shot.state === "asked") return [make("p", { class: "under-way" }, make("span", { class: "spin", "aria-hidden": "true" }), shot.words || "The model looks at it…")];
  if (shot.state === "failed") return [strip("bad", "✕", shot.trouble.message)];
  const found = [], { answer } = shot;
  if (shot.checked) found.push(strip("good", "✓", shot.checked === "right" ? "You said: right" : "You corrected it"));
  else if (answer.problems.length) found.push(strip("bad", "!", "Not all of it could be read: look at it"));
  else if (answer.abstain) found.push(strip("mixed", "?", "Unsure: look at it", answer.abstain_why && make("small", {}, answer.abstain_why)));
  else if (hasRule(task)) found.push(strip("good", "✓", "Sure"));
  if (answer.problems.length) found.push(make("ul", { class: "problems" }, answer.problems.map((one) => make("li", {}, one))));
  return found;
}

/** The words of how sure an answer is, for who listens and for the list of all cards. */
export function surety(shot, task) {
  if (shot.answer.problems.length) return "not all could be read";
  if (shot.answer.abstain) return "unsure: look at it";
  return hasRule(task) ? "sure" : "";
}

/** Whether the run has learnt when to doubt an answer. */
const hasRule = (task) => Boolean(task.abstain_below ?? task.abstain_above);

function valueOf(shot, field, task) {
  const { answer } = shot;
  const said = answer.values[field.name], own = shot.checked === "corrected" ? shot.values[field.name] : undefined;
  const changed = own !== undefined && own !== written(said);
  const words = changed ? ownWords(field, own) : said === undefined ? "not read" : shown(field, said);
  const value = make("dd", { class: said === undefined && !changed ? "missing" : field.kind }, make("span", { class: "value" }, words));
  if (changed) value.append(make("small", {}, said === undefined ? "the model said nothing that could be read" : `the model said ${shown(field, said)}`));
  const sure = answer.confidence?.[field.name];
  const from = task.abstain_below?.[field.name] ?? null;
  if (typeof sure === "number" && (field.kind === "category" || from !== null)) value.append(confidence(sure, from));
  if (field.kind === "number" && said !== undefined) value.append(...intervalOf(shot, field, task), make("div", { class: "scale-place", "data-field": field.name }));
  return [make("dt", {}, plain(field.name)), value];
}

const ownWords = (field, own) => (field.kind === "number" ? amount(Number(own), field.unit) : own);

function confidence(sure, from) {
  const words = [make("span", { class: "figure" }, percent(sure)), " confident"];
  if (from !== null) words.push(`, sure from ${percent(from)}`);
  return make("div", { class: "confidence" }, bar(sure, from), make("small", {}, words));
}

/** {low, high, measured}: the calibrated interval, else what the model's own probabilities say, else null. */
export function rangeOf(shot, field) {
  const measured = shot.answer.intervals?.[field.name];
  if (measured) return { low: measured[0], high: measured[1], measured: true };
  const own = shot.answer.distribution?.[field.name];
  return typeof own?.low === "number" && typeof own?.high === "number" ? { low: own.low, high: own.high, measured: false } : null;
}

function intervalOf(shot, field, task) {
  const range = rangeOf(shot, field);
  if (!range) return [];
  const { low, high, measured } = range;
  const unit = field.unit ? ` ${field.unit}` : "";
  const ends = low === null && high === null ? "anything: too little was measured to say"
    : low === null ? `at most ${about(high)}${unit}`
    : high === null ? `at least ${about(low)}${unit}`
    : `${about(low)} to ${about(high)}${unit}`;
  const how = measured ? `in ${percent(task.coverage ?? 0.9)} of cases ` : "by the model's own account ";
  return [make("small", { class: "interval" }, how, make("span", { class: "figure" }, ends))];
}

/** The scales of a card, all drawn anew when the numbers that the cards share have changed. */
export function paintScales(shot, task, domains) {
  if (shot.state !== "answered") return;
  for (const place of shot.parts.fields.querySelectorAll("[data-field]")) {
    const field = task.fields.find((one) => one.name === place.dataset.field);
    const domain = domains[field.name], range = rangeOf(shot, field);
    const own = shot.checked === "corrected" ? Number(shot.values[field.name]) : undefined;
    const point = shot.answer.values[field.name];
    place.replaceChildren(...(domain ? [scale(domain, { point, low: range?.low, high: range?.high, corrected: own === point ? undefined : own })] : []));
  }
}

function paintActions(shot, task, wish) {
  const { actions } = shot.parts;
  const focused = actions.contains(document.activeElement) ? document.activeElement.dataset.does : null;
  const whole = task.fields.every((one) => shot.answer.values[one.name] !== undefined);
  const right = make("button", { type: "button", "data-does": "right", "aria-pressed": String(shot.checked === "right"), onclick: () => wish.right(shot) }, "Right");
  const edit = make("button", { type: "button", "data-does": "edit", "aria-expanded": String(Boolean(shot.editing)), onclick: () => toggleForm(shot, task, wish) }, "Correct it");
  const { seconds } = shot.answer;
  const took = seconds && make("small", { class: "took" }, `${duration((seconds.queue ?? 0) + (seconds.answer ?? 0))}${shot.changed && `, ${shot.changed}`}`);
  actions.replaceChildren(...[whole && right, edit, took].filter(Boolean));
  if (focused) actions.querySelector(`[data-does="${focused}"]`)?.focus();
}

const duration = (seconds) => (seconds < 0.1 ? "under 0.1 s" : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`);

function toggleForm(shot, task, wish) {
  if (shot.editing) return closeForm(shot, wish);
  shot.editing = true;
  const inputs = new Map();
  const rows = task.fields.map((field) => {
    const id = `edit-${shot.number}-${field.name}`;
    const now = shot.checked ? shot.values[field.name] : written(shot.answer.values[field.name]);
    const list = field.kind === "category" && field.choices?.length ? `choices-${field.name}` : null;
    const words = make("small", { id: `${id}-words`, role: "status" });
    const input = make("input", { id, value: now, autocomplete: "off", list, inputmode: field.kind === "number" ? "decimal" : null, "aria-describedby": `${id}-words` });
    input.addEventListener("input", () => tell(field, input, words, false));
    inputs.set(field, { input, words });
    return make("p", {}, make("label", { for: id }, plain(field.name) + (field.unit ? ` (${field.unit})` : "")), input, words);
  });
  const form = make("form", { novalidate: true, "aria-label": `Correct ${shot.name}` }, rows,
    make("p", { class: "buttons" }, make("button", { class: "strong" }, "Keep"), make("button", { type: "button", onclick: () => closeForm(shot, wish) }, "Cancel")));
  form.addEventListener("submit", (event) => { event.preventDefault(); keep(shot, inputs, wish); });
  const untouched = () => [...inputs.values()].every(({ input }) => input.value === input.defaultValue);
  form.addEventListener("keydown", (event) => { if (event.key === "Escape" && untouched()) closeForm(shot, wish); }); // it closes a list of choices, too
  shot.parts.form.replaceChildren(form);
  wish.changed(shot);
  inputs.values().next().value.input.focus();
}

/** What is wrong with a field is said once it is kept, and from then on as it is mended; a hint at once. */
function tell(field, input, words, strict) {
  const found = check(field, input.value);
  const said = input.getAttribute("aria-invalid") === "true" || strict ? found.problem : "";
  if (said) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  words.textContent = said || found.hint || "";
  words.className = said ? "wrong" : "";
  return found;
}

function keep(shot, inputs, wish) {
  const values = {};
  let first = null;
  for (const [field, { input, words }] of inputs) {
    const found = tell(field, input, words, true);
    if (found.problem) first ??= input;
    else values[field.name] = found.value;
  }
  if (first) return first.focus();
  wish.correct(shot, values);
  closeForm(shot, wish);
}

function closeForm(shot, wish) {
  shot.editing = false;
  wish.changed(shot);
  shot.parts.actions.querySelector('[data-does="edit"]')?.focus();
}
