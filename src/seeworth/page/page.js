// What every page of ours can do more with a script than without: the words of a chart's marks on hover, touch and arrow keys, tables
// that sort and filter, and nothing folded away on paper. Words from data only ever go through textContent.
"use strict";

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Charts: each mark's <title> becomes a tip. A chart takes the focus once; arrow keys step from mark to mark.
(() => {
  const tip = make("div", { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const words = new WeakMap();
  let marked = null;

  const hide = () => {
    tip.hidden = true;
    marked?.classList.remove("at");
    marked = null;
  };
  const show = (mark, x, y) => {
    if (mark !== marked) {
      hide();
      marked = mark;
      mark.classList.add("at");
      tip.textContent = words.get(mark);
      tip.hidden = false;
    }
    const room = tip.getBoundingClientRect();
    const edge = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(x + 14, edge - room.width - 4))}px`;
    tip.style.top = `${y - room.height - 12 < 4 ? y + 18 : y - room.height - 12}px`;
  };
  const beside = (mark) => {
    const box = mark.getBoundingClientRect();
    show(mark, box.left + box.width / 2, box.top);
  };

  for (const chart of document.querySelectorAll("svg[role=img]")) {
    const titles = [...chart.querySelectorAll("title")];
    const marks = titles.map((title) => title.parentElement);
    if (!marks.length) continue;
    for (const title of titles) {
      words.set(title.parentElement, title.textContent);
      title.remove();
    }
    const over = (event) => {
      let mark = event.target;
      while (mark !== chart && !words.has(mark)) mark = mark.parentElement;
      if (mark === chart) hide();
      else show(mark, event.clientX, event.clientY);
    };
    chart.addEventListener("pointermove", over);
    chart.addEventListener("pointerdown", over);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.tabIndex = 0;
    chart.setAttribute("aria-label", `${chart.getAttribute("aria-label")}. Arrow keys read its ${marks.length} marks.`);
    let at = -1;
    chart.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: marks.length - 1 };
      if (event.key === "Escape") hide();
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      at = Math.max(0, Math.min(marks.length - 1, steps[event.key]));
      beside(marks[at]);
    });
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();

// Tables: a button in each column's head sorts, a third press gives the first order back. What has no value stays at the end. A table
// whose columns mix units is data-unsorted; one that another script looks after is data-own.
const alphabet = new Intl.Collator(undefined, { numeric: true });
const compare = (one, other) =>
  typeof one === "number" && typeof other === "number" ? one - other : alphabet.compare(String(one), String(other));
const ordered = (rows, key, way) => {
  const keyed = rows.map((row) => [key(row), row]);
  const known = keyed.filter(([value]) => value !== null).sort(([one], [other]) => way * compare(one, other));
  return [...known, ...keyed.filter(([value]) => value === null)].map(([, row]) => row);
};
const sortable = (head, sort) => {
  const button = make("button", { type: "button", className: "sort" });
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") ?? "none"];
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    if (next !== "none") head.setAttribute("aria-sort", next);
    sort({ none: 0, ascending: 1, descending: -1 }[next]);
  });
};

for (const table of document.querySelectorAll("table:not([data-own])")) {
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  const first = [...table.tBodies[0].rows];
  if (!heads.length || first.length < 3) continue;
  const value = (row, column) => {
    const cell = row.cells[column];
    const told = cell.dataset.value ?? cell.textContent.trim();
    if (told === "" || cell.classList.contains("given")) return null;
    const plain = told.replaceAll(",", "").replace(/ %$/, "");
    return isFinite(plain) ? Number(plain) : told;
  };
  if (table.dataset.unsorted === undefined) {
    heads.forEach((head, column) => {
      if (first.every((row) => value(row, column) === null)) return;
      sortable(head, (way) => table.tBodies[0].append(...(way ? ordered(first, (row) => value(row, column), way) : first)));
    });
  }
  if (first.length < 9) continue;
  const search = make("input", { type: "search" });
  const count = make("span", { className: "count-of" });
  count.setAttribute("role", "status");
  const place = table.closest(".scroll") ?? table;
  const about = place.getAttribute("aria-label");
  search.setAttribute("aria-label", `Rows with these words${about ? `: ${about}` : ""}`);
  place.before(make("div", { className: "controls" }, make("label", {}, make("span", { textContent: "rows with" }), search), count));
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const row of first) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const shown = first.filter((row) => !row.hidden).length;
    count.textContent = wanted ? `${shown} of ${first.length} rows` : "";
  });
}

// Paper: what is folded away is opened while the page is printed.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
