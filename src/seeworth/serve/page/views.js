// What can be asked for beside an answer: what else it could be, training records that look alike, what moved the answer.
// Each opens on demand, and asks the server when it is first opened.

import { ask, Trouble } from "/page/api.js";
import { heat, heatTable, heatWords, shares } from "/page/charts.js";
import { amount, make, percent, plain, say, shown } from "/page/dom.js";

const ALIKE = 6; // training records

/** The <details> that this shot and server can have. */
export function viewsOf(shot, task) {
  const told = task.fields.filter((one) => hasMore(shot.answer.distribution?.[one.name]));
  const can = task.views ?? {};
  const moves = task.fields.some((one) => one.kind !== "text");
  return [
    told.length && view("What else it could be", () => told.map((one) => others(one, shot.answer.distribution[one.name]))),
    can.similar && view("Similar training photos", (place) => asked(place, shot, `/v1/similar?k=${ALIKE}`, "Looking through the training photos…", (found) => similar(found, task))),
    can.occlusion && moves && view("What moved the answer", (place) => asked(place, shot, "/v1/occlusion", "Covering the photo part by part and asking again…", (found) => moved(found, shot, task))),
  ].filter(Boolean);
}

const hasMore = (told) => told && (told.choices || told.values);

function view(title, open) {
  const place = make("div", { class: "view" });
  const details = make("details", {}, make("summary", {}, title), place);
  details.addEventListener("toggle", () => {
    if (!details.open || place.children.length) return;
    const found = open(place);
    if (Array.isArray(found)) place.append(...found);
  });
  return details;
}

async function asked(place, shot, path, meanwhile, show) {
  place.setAttribute("aria-busy", "true");
  const words = make("p", { class: "under-way" }, make("span", { class: "spin", "aria-hidden": "true" }), meanwhile);
  place.replaceChildren(words);
  try {
    const waiting = (why) => { words.lastChild.textContent = why; };
    const found = await ask(path, { photo: shot.blob, name: shot.name, given: shot.given, signal: shot.ends.signal, waiting });
    place.replaceChildren(...show(found));
    say(`${shot.name}: ${place.firstChild?.textContent ?? ""}`);
  } catch (problem) {
    if (shot.ends.signal.aborted) return;
    const told = problem instanceof Trouble ? problem.message : "The server's answer could not be shown.";
    const again = make("button", { type: "button", onclick: () => asked(place, shot, path, meanwhile, show) }, "Try again");
    place.replaceChildren(make("p", { class: "said bad", role: "alert" }, told), again);
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function others(field, told) {
  const name = make("h4", {}, plain(field.name));
  if (told.choices) {
    const all = Object.entries(told.choices).sort((a, b) => b[1] - a[1]);
    return make("section", {}, name, shares(all, Math.min(6, Math.max(3, all.filter(([, share]) => share >= 0.001).length))));
  }
  const whole = `By the model's own account ${amount(told.median, field.unit)} is in the middle, and nine tenths lie between ${amount(told.low)} and ${amount(told.high, field.unit)}. Likeliest:`;
  const pairs = told.values.map(([number, share]) => [amount(number, field.unit), share]).sort((a, b) => b[1] - a[1]);
  const rest = Math.max(0, 1 - pairs.reduce((sum, [, share]) => sum + share, 0));
  const more = rest > 0.001 ? make("p", { class: "lead" }, `All other numbers together: ${percent(rest)}.`) : null;
  return make("section", {}, name, make("p", {}, whole), shares(pairs.slice(0, 6), 6), pairs.length <= 6 ? more : null);
}

function similar(found, task) {
  if (!found.similar.length) return [make("p", {}, "There is no training photo to compare with.")];
  const rows = found.similar.map((one) => make("li", {},
    typeof one.photo === "string" && one.photo.startsWith("data:image/") && make("img", { src: one.photo, alt: "" }),
    make("div", {}, task.fields.filter((field) => one.values?.[field.name] !== undefined).map((field, place) => make("span", { class: place ? "" : "first" }, shown(field, one.values[field.name]))),
      make("small", {}, `${percent(Math.max(0, one.similarity))} alike · ${one.id}`))));
  return [make("p", {}, "What the model sees in them is most like what it sees here. Their values are true ones."), make("ul", { class: "alike" }, rows)];
}

function moved(found, shot, task) {
  const fields = task.fields.filter((one) => found.changes[one.name]?.[0]?.length);
  if (!fields.length) return [make("p", {}, "The server said of no field what moved it.")];
  const place = make("div", {});
  const paint = (field) => place.replaceChildren(...movedOne(field, found, shot));
  const numbers = fields.filter((one) => one.kind === "number");
  paint(numbers[0] ?? fields[0]);
  if (fields.length < 2) return [place];
  const select = make("select", { onchange: (event) => paint(fields.find((one) => one.name === event.target.value)) },
    fields.map((one) => make("option", { value: one.name, selected: one === (numbers[0] ?? fields[0]) }, plain(one.name))));
  return [make("p", {}, make("label", {}, "What moved the ", select)), place];
}

function movedOne(field, found, shot) {
  const grid = found.changes[field.name];
  const words = heatWords(field, grid, found.base?.[field.name], shot.answer.values[field.name]);
  const { width, height } = shot.width ? shot : shot.answer.photo;
  const photo = shot.url ? make("img", { src: shot.url, alt: "" }) : make("div", { class: "blank" });
  photo.style.aspectRatio = `${width} / ${height}`;
  const legend = [words.down && ["takes", words.down], words.up && ["adds", words.up], words.grey && ["unknown", words.grey]].filter(Boolean);
  return [
    make("p", {}, words.lead),
    legend.length > 0 && make("div", { class: "over" }, photo, heat(field, grid, width, height)),
    legend.length > 0 && make("ul", { class: "legend" }, legend.map(([kind, line]) => make("li", {}, make("span", { class: `key ${kind}`, "aria-hidden": "true" }), line))),
    make("details", {}, make("summary", {}, "In numbers"), heatTable(field, grid)),
  ].filter(Boolean);
}
