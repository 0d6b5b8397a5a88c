// What is drawn, as SVG without a style attribute: the scale of a number, bars of shares, the heat map over a photo.
// Every drawing is hidden from screen readers: the words beside it say the same.

import { amount, draw, make, percent, plain } from "/page/dom.js";

const WIDE = 300, EDGE = 14; // the drawing's units; they are pixels in a card of usual width

/** The numbers that all cards share: {low, high, log} around all points and ends, or null when there is nothing to compare. */
export function domainOf(marks) {
  const all = marks.flatMap((one) => [one.point, one.low, one.high]).filter((one) => typeof one === "number" && Number.isFinite(one));
  if (!all.length) return null;
  let low = Math.min(...all), high = Math.max(...all);
  if (low > 0 && high / low > 12) return { low: low / 1.15, high: high * 1.15, log: true };
  if (low === high) { low -= Math.abs(low) * 0.5 || 1; high += Math.abs(high) * 0.5 || 1; }
  const space = (high - low) * 0.08;
  const start = low >= 0 && low < 0.4 * high ? 0 : low - space;
  return { low: low >= 0 ? Math.max(0, start) : start, high: high + space, log: false };
}

function placeOf({ low, high, log }) {
  const way = log ? Math.log : (one) => one;
  return (number) => EDGE + ((way(number) - way(low)) / (way(high) - way(low))) * (WIDE - 2 * EDGE);
}

/** At most five round numbers inside the domain. */
export function ticksOf({ low, high, log }) {
  const found = [];
  if (log) {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      found.length = 0;
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        found.push(...steps.map((step) => step * 10 ** power).filter((one) => one >= low && one <= high));
      }
      if (found.length <= 5) return found;
    }
    return found.filter((_, place) => place % Math.ceil(found.length / 5) === 0);
  }
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw);
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(at * step);
  return found;
}

/** A point with the interval around it on the scale. `corrected` is the person's own number, a diamond. An end that is null runs off. */
export function scale(domain, { point, low, high, corrected }) {
  const place = placeOf(domain), middle = 13, axis = 26;
  const inside = (number) => Math.min(Math.max(place(number), EDGE), WIDE - EDGE);
  const svg = draw("svg", { viewBox: `0 0 ${WIDE} 46`, class: "scale", "aria-hidden": "true", focusable: "false" });
  svg.append(draw("line", { class: "axis", x1: EDGE, x2: WIDE - EDGE, y1: axis, y2: axis }));
  for (const tick of ticksOf(domain)) {
    const x = place(tick);
    const anchor = x < 30 ? "start" : x > WIDE - 30 ? "end" : "middle";
    svg.append(draw("line", { class: "axis", x1: x, x2: x, y1: axis, y2: axis + 4 }));
    svg.append(draw("text", { class: "tick", x: anchor === "middle" ? x : anchor === "start" ? x - 8 : x + 8, y: 42, "text-anchor": anchor }, short(tick)));
  }
  if (low !== undefined) {
    const from = low === null ? EDGE : inside(low), to = high === null ? WIDE - EDGE : inside(high);
    svg.append(draw("rect", { class: "span", x: from, y: middle - 6, width: Math.max(to - from, 1), height: 12, rx: 2 }));
    svg.append(end(from, middle, low === null ? -1 : 0), end(to, middle, high === null ? 1 : 0));
  }
  if (typeof point === "number") svg.append(draw("circle", { class: "dot", cx: inside(point), cy: middle, r: 5.5 }));
  if (typeof corrected === "number" && corrected >= domain.low && corrected <= domain.high) {
    const x = inside(corrected);
    svg.append(draw("path", { class: "own", d: `M${x} ${middle - 8}l7 8-7 8-7-8z` }));
  }
  return svg;
}

/** The end of an interval: a stroke, or an arrow where it goes on for ever. */
function end(x, y, way) {
  if (!way) return draw("line", { class: "end", x1: x, x2: x, y1: y - 7, y2: y + 7 });
  return draw("path", { class: "end", d: `M${x + way * 3} ${y - 6}l${way * 6} 6 ${-way * 6} 6` });
}

/** A tick in few letters: 1200 -> 1.2k. */
const small = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const short = (number) => small.format(number);

/** A share of 0..1 as a bar; a line marks `from`, where the run begins to be sure. */
export function bar(share, from = null) {
  const svg = draw("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", class: "share", "aria-hidden": "true", focusable: "false" });
  svg.append(draw("rect", { class: "trough", width: 100, height: 8 }), draw("rect", { class: "part", width: Math.max(share * 100, 0.5), height: 8 }));
  if (typeof from === "number") svg.append(draw("rect", { class: "from", x: Math.min(from * 100, 99), width: 1, height: 8 }));
  return svg;
}

/** Words and shares as a list of bars, at most `most` of them. */
export function shares(pairs, most = 8) {
  const rows = pairs.slice(0, most).map(([words, share]) => make("li", {}, make("span", { class: "words" }, words), make("span", { class: "figure" }, percent(share)), bar(share)));
  const rest = pairs.slice(most).reduce((sum, [, share]) => sum + share, 0);
  if (pairs.length > most) rows.push(make("li", { class: "rest" }, make("span", { class: "words" }, `${pairs.length - most} others together`), make("span", { class: "figure" }, percent(rest))));
  return make("ul", { class: "shares" }, rows);
}

/** What a heat map says of one field, in words: {lead, down, up, grey}, the last three where there are such parts. `base` is what changes are measured from:
 *  of a number the middle of what the model holds likely, which need not be what it `said`. */
export function heatWords(field, grid, base, said) {
  const all = grid.flat().filter((one) => typeof one === "number");
  const most = Math.max(0, ...all), least = Math.min(0, ...all);
  const name = plain(field.name);
  const middle = typeof base === "number" && base !== said ? ", the middle of what it holds likely" : "";
  const was = base === undefined || base === null ? "" : ` (${typeof base === "number" ? amount(base, field.unit) : base}${middle})`;
  if (!all.length) return { lead: `No ${name} could be read, so that no part can be said to have moved it.` };
  const isNumber = field.kind === "number";
  const what = isNumber ? `changes the ${name}${was} by less than 0.5 %` : `changes how likely the ${name}${was} is by less than 0.5 points`;
  if (Math.max(most, -least) < 0.005) return { lead: `Covering any one part ${what}: no single part decides it.` };
  const grey = all.length < grid.flat().length ? `Grey parts: without them no ${name} could be read.` : "";
  if (isNumber) {
    return {
      grey,
      lead: `Each part was covered in turn, and the ${name}${was} asked again.`,
      down: least < -0.004 ? `Blue parts hold it up: without them it falls, by ${percent(-least)} at most.` : "",
      up: most > 0.004 ? `Orange parts hold it down: without them it rises, by ${percent(most)} at most.` : "",
    };
  }
  return {
    grey,
    lead: `Each part was covered in turn, and how likely the ${name}${was} is asked again.`,
    down: most > 0.004 ? `Blue parts speak for it: without them it is less likely, by ${points(most)} at most.` : "",
    up: least < -0.004 ? `Orange parts speak against it: without them it is more likely, by ${points(-least)} at most.` : "",
  };
}

const points = (share) => `${(share * 100).toFixed(share < 0.095 ? 1 : 0)} points`;

/** A change as a cell says it: -0.23 of a number is -23 %, 0.4 of a category -40 points. */
export function changeWords(field, change) {
  if (typeof change !== "number") return "no answer";
  const down = field.kind === "number" ? -change : change; // how much covering takes away
  const size = Math.abs(down) * 100;
  const words = size < 0.05 ? "0" : size < 9.95 ? size.toFixed(1) : size.toFixed(0);
  return `${words === "0" ? "" : down > 0 ? "\u2212" : "+"}${words}${field.kind === "number" ? " %" : ""}`;
}

/** How strong a cell is: of a number by its ratio, so that half and double are alike. */
const weight = (field, change) => (field.kind === "number" ? Math.abs(Math.log(Math.max(1 + change, 0.001))) : Math.abs(change));

/** Cells over a photo of this width and height: blue where covering takes away, orange where it adds; the strong ones say their number. */
export function heat(field, grid, width, height) {
  const most = Math.max(...grid.flat().filter((one) => typeof one === "number").map((one) => weight(field, one)));
  const high = (600 * height) / width;
  const svg = draw("svg", { viewBox: `0 0 600 ${high}`, preserveAspectRatio: "none", class: "heat", "aria-hidden": "true", focusable: "false" });
  const across = 600 / grid[0].length, down = high / grid.length;
  grid.forEach((row, y) => row.forEach((change, x) => {
    const at = { x: x * across, y: y * down, width: across, height: down };
    if (typeof change !== "number") return svg.append(draw("rect", { class: "unknown", ...at }));
    const takes = field.kind === "number" ? change < 0 : change > 0;
    const strength = most ? weight(field, change) / most : 0;
    svg.append(draw("rect", { class: takes ? "takes" : "adds", "fill-opacity": (0.62 * strength).toFixed(3), ...at }));
    if (strength > 0.45) {
      const size = Math.min(down * 0.4, across * 0.3, 30);
      svg.append(draw("text", { class: "on-photo", x: at.x + across / 2, y: at.y + down / 2 + size / 3, "text-anchor": "middle", "font-size": size.toFixed(1) }, changeWords(field, change).replace(" %", "")));
    }
  }));
  return svg;
}

/** The same as a table: rows from the top, columns from the left. */
export function heatTable(field, grid) {
  const unit = field.kind === "number" ? "change of the value" : "change of its probability, in points";
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${plain(field.name)}, part by part` }, make("table", {},
    make("caption", {}, `${plain(field.name)} with that part covered: ${unit}`),
    make("thead", {}, make("tr", {}, make("td"), grid[0].map((_, x) => make("th", { scope: "col" }, x === 0 ? "left" : x === grid[0].length - 1 ? "right" : String(x + 1))))),
    make("tbody", {}, grid.map((row, y) => make("tr", {}, make("th", { scope: "row" }, y === 0 ? "top" : y === grid.length - 1 ? "bottom" : String(y + 1)), row.map((one) => make("td", {}, changeWords(field, one)))))),
  ));
}
