// What a report can do with a script: galleries that filter and sort, and a table of all records that filters, sorts and leafs. The
// records stand in the page as JSON and are only ever shown through textContent. Follows page.js in the same script.
(() => {
  const at = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll("#gallery article")].map((card) => ({
    card,
    place: card.parentElement,
    kind: card.closest(".kind").dataset.kind,
    words: card.textContent.toLowerCase(),
    worst: -Number(card.dataset.badness),
    best: Number(card.dataset.badness),
    id: card.dataset.id,
  }));
  if (!cards.length) return;
  const choose = () => {
    const kind = at("gallery-kind").value;
    const wanted = at("gallery-words").value.trim().toLowerCase();
    const order = at("gallery-order").value;
    for (const one of cards) one.card.hidden = !one.words.includes(wanted);
    for (const one of order ? ordered(cards, (row) => row[order], 1) : cards) one.place.append(one.card);
    let shown = 0;
    for (const group of document.querySelectorAll("#gallery .kind")) {
      const own = cards.filter((one) => one.kind === group.dataset.kind && !one.card.hidden).length;
      group.hidden = Boolean(kind && kind !== group.dataset.kind) || (!own && Boolean(wanted || kind));
      if (!group.hidden) shown += own;
    }
    at("gallery-count").textContent = kind || wanted ? `${shown} of ${cards.length} cards` : "";
  };
  at("gallery-looks")?.addEventListener("change", () => {
    for (const map of document.querySelectorAll("#gallery .looks")) map.classList.toggle("chosen", map.dataset.field === at("gallery-looks").value);
    at("gallery").classList.add("choose");
  });
  for (const id of ["gallery-kind", "gallery-order"]) at(id).addEventListener("change", choose);
  at("gallery-words").addEventListener("input", choose);
  at("gallery-controls").hidden = false;
})();

(() => {
  const at = (id) => document.getElementById(id);
  const { fields, page, category, rows } = JSON.parse(at("records-data").textContent);
  const [TRUE, READ, OFF, ERROR, SURE] = [0, 1, 2, 3, 4]; // of a cell; those of a row begin at 2
  const words = new Map(rows.map((row) => [row, row.flat().filter((one) => typeof one === "string").join("\n").toLowerCase()]));
  const body = at("records-table").tBodies[0];
  let [key, way, from] = [null, 0, 0];

  const shown = (row) => {
    const [kind, field] = at("records-which").value.split("-");
    const cell = field === undefined ? null : row[2 + Number(field)];
    if (kind === "wrong" && cell[OFF] === "") return false;
    if (kind === "right" && cell[OFF] !== "") return false;
    if (kind === "unread" && !row.slice(2).some((one) => one[READ] === null)) return false;
    const chosen = at("records-category")?.value;
    if (chosen && row[2 + category][TRUE] !== chosen) return false;
    return words.get(row).includes(at("records-words").value.trim().toLowerCase());
  };
  const said = (who) => make("span", { className: "who", textContent: who });
  const drawn = (cell) => {
    const place = make("td");
    const truth = make("bdi", { textContent: cell[TRUE] });
    if (cell[OFF] === "") {
      const sign = make("span", { className: "sign", textContent: "✓" });
      sign.setAttribute("role", "img");
      sign.setAttribute("aria-label", "right");
      place.append(sign, " ", truth);
    } else {
      const read = cell[READ] === null ? make("i", { textContent: "nothing" }) : make("bdi", { className: "no", textContent: cell[READ] || cell[TRUE] });
      place.append(said("true"), " ", truth, make("br"), said("read"), " ", read, make("small", { className: "off", textContent: cell[OFF] }));
    }
    if (cell[SURE]) place.append(make("small", { textContent: cell[SURE] }));
    return place;
  };
  const line = (row) => {
    const head = make("th", { scope: "row" }, make("bdi", { textContent: row[0] }));
    return make("tr", {}, head, make("td", { textContent: row[1].toFixed(2) }), ...row.slice(2).map(drawn));
  };
  const draw = () => {
    const left = rows.filter(shown);
    const sorted = way ? ordered(left, key, way) : left;
    from = Math.max(0, Math.min(from, Math.floor((sorted.length - 1) / page) * page));
    const to = Math.min(sorted.length, from + page);
    body.replaceChildren(...sorted.slice(from, to).map(line));
    const all = sorted.length === rows.length ? "" : ` found among ${rows.length.toLocaleString("en")}`;
    at("records-count").textContent = sorted.length ? `${(from + 1).toLocaleString("en")} to ${to.toLocaleString("en")} of ${sorted.length.toLocaleString("en")}${all}` : `none${all}`;
    at("records-back").disabled = from === 0;
    at("records-on").disabled = to >= sorted.length;
  };
  const again = () => {
    from = 0;
    draw();
  };
  const keys = [(row) => row[0], (row) => row[1], ...fields.map((_, index) => (row) => row[2 + index][ERROR])];
  [...at("records-table").tHead.rows[0].cells].forEach((head, column) =>
    sortable(head, (next) => {
      [key, way] = [keys[column], next];
      again();
    }),
  );
  for (const id of ["records-which", "records-category"]) at(id)?.addEventListener("change", again);
  at("records-words").addEventListener("input", again);
  at("records-back").addEventListener("click", () => { from -= page; draw(); });
  at("records-on").addEventListener("click", () => { from += page; draw(); });
  at("records-static").hidden = true;
  at("records-controls").hidden = false;
  at("records-pager").hidden = false;
  for (const id of ["records-back", "records-on"]) at(id).hidden = rows.length <= page;
  draw();
})();
