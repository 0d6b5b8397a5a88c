// Elements and words. All that comes from data goes in as text nodes: nothing here or elsewhere on this page parses HTML.

/** An element: `make("p", {class: "lead", onclick: f}, "words", another)`. null, undefined and false are left out. */
export function make(tag, traits = {}, ...inside) {
  return fill(document.createElement(tag), traits, inside);
}

/** The same for SVG. */
export function draw(tag, traits = {}, ...inside) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), traits, inside);
}

function fill(element, traits, inside) {
  for (const [name, value] of Object.entries(traits)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...inside.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A field's name as people say it: full_price -> full price. */
export const plain = (name) => name.replaceAll("_", " ").trim();

const figures = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const currencies = new Set(Intl.supportedValuesOf?.("currency"));
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number with its unit: 1290, "USD" -> 1,290 USD; 890.5, "USD" -> 890.50 USD; 1.5, "kg" -> 1.5 kg. Below 1 it keeps three digits. */
export function amount(number, unit) {
  const form = currencies.has(unit) && !Number.isInteger(number) ? money : Math.abs(number) >= 1 || number === 0 ? figures : digits;
  return unit ? `${form.format(number)} ${unit}` : form.format(number);
}

/** An end of an interval, which is never known to more than three digits: 2193.4 -> 2,190. */
export const about = (number) => figures.format(Number(Number(number).toPrecision(3)));

/** A share in words: 0.987 -> 98.7 %, 0.9 -> 90 %. It says neither 0 nor 100 of what is not. */
export function percent(share) {
  if (share > 0.9995 && share < 1) return "> 99.9 %";
  if (share < 0.0005 && share > 0) return "< 0.1 %";
  const whole = Math.abs(share * 100 - Math.round(share * 100)) < 1e-9;
  return `${(share * 100).toFixed(whole || share > 1 ? 0 : 1)} %`;
}

/** A value of an answer as words. */
export const shown = (field, value) => (typeof value === "number" ? amount(value, field.unit) : String(value));

/** `count(1, "photo")` -> 1 photo; `count(2, "photo")` -> 2 photos. */
export const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

let spoken = 0;
/** Say to who listens; the same words twice are two announcements. */
export function say(words) {
  spoken += 1;
  byId("live").textContent = words + (spoken % 2 ? "" : "\u00a0");
}
