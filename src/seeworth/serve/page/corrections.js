// What a person says of answers: whether a correction can be one, and the table that `seeworth import` takes, photos and all.
// The rules are those of task.py and data/rows: a number is a plain decimal of at most 15 digits, above 0 when it has a unit.

import { plain } from "/page/dom.js";
import { dataUri } from "/page/photos.js";

const MAX_CELL = 1_000_000; // characters of a CSV cell that an import reads; a heavier photo is made smaller
const MAX_WORDS = 300; // characters of a text or a category
const MAX_DIGITS = 15;
const NUMBER = /^[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?$/;
const NOTHING = new Set(["-", "--", "–", "—", "n.a.", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "?"]);

/** {value} of what was typed, as the table says it; or {problem} in words; `hint` where it is allowed but perhaps not meant. */
export function check(field, typed) {
  const text = typed.normalize("NFC").trim();
  if (!text || NOTHING.has(text.toLowerCase())) return { problem: `Say the ${plain(field.name)}.` };
  if (field.kind === "number") return checkNumber(field, text);
  if ([...text].length > MAX_WORDS) return { problem: `At most ${MAX_WORDS} characters, these are ${[...text].length}.` };
  if (field.kind === "category" && field.choices?.length && !field.choices.includes(text)) return { value: text, hint: newCategory(field, text) };
  return { value: text };
}

function checkNumber(field, text) {
  const own = field.unit && text.toUpperCase().endsWith(field.unit.toUpperCase()) ? text.slice(0, -field.unit.length).trim() : text;
  if (!NUMBER.test(own)) return { problem: "A number like 1290.50 is expected: digits, and a point before decimals." };
  const value = own.replaceAll(",", "").replace(/^\+/, "");
  if (value.replace(/[^\d]/g, "").replace(/^0+/, "").length > MAX_DIGITS) return { problem: `At most ${MAX_DIGITS} digits.` };
  if (field.unit && Number(value) <= 0) return { problem: `It must be more than 0 ${field.unit}.` };
  return { value };
}

function newCategory(field, text) {
  const same = field.choices.find((one) => one.toLowerCase() === text.toLowerCase());
  return same ? `Did you mean ${same}?` : `The model does not know ${text}: it is none of its ${field.choices.length}. Kept as a new one.`;
}

/** A value of an answer as a form and a table write it. */
export const written = (value) => (value === undefined || value === null ? "" : String(value));

/** The names of the columns: photo and id, what was asked with and the task's fields, then what the model had said. */
export function columnsOf(fields, asked) {
  const own = [...asked, ...fields.map((one) => one.name)];
  const further = ["checked", "file", "model", ...fields.map(({ name }) => `predicted_${name}`)];
  return ["photo", "id", ...own, ...further.filter((name) => !own.includes(name))];
}

async function rowsOf(shots, fields, model, most, lost) {
  const ids = new Map(), rows = [];
  for (const shot of shots) {
    const photo = await dataUri(shot.blob, most).catch(() => null);
    if (!photo) { lost.push(shot.name); continue; }
    const base = shot.answer.photo?.sha256?.slice(0, 16) || `photo-${shot.number}`;
    const seen = (ids.get(base) ?? 0) + 1;
    ids.set(base, seen);
    const row = { photo, id: seen > 1 ? `${base}-${seen}` : base, checked: shot.checked, file: shot.name, model, ...shot.given };
    for (const { name } of fields) {
      row[`predicted_${name}`] = written(shot.answer.values[name]);
      row[name] = shot.values[name];
    }
    rows.push(row);
  }
  return rows;
}

/** {blob, rows, lost: names of photos that do not fit a cell and cannot be made smaller here}: the table as "csv" or "jsonl". */
export async function table(form, shots, fields, asked, model) {
  const lost = [], columns = columnsOf(fields, asked), csv = form === "csv";
  const rows = await rowsOf(shots, fields, model, csv ? MAX_CELL : Infinity, lost);
  const lines = rows.map((row) => (csv ? columns.map((name) => cell(row[name])).join(",") : JSON.stringify(Object.fromEntries(columns.map((name) => [name, row[name]])))));
  const head = csv ? ["\ufeff", columns.map(cell).join(","), "\r\n"] : [];
  const blob = new Blob([...head, ...lines.flatMap((line) => [line, csv ? "\r\n" : "\n"])], { type: csv ? "text/csv;charset=utf-8" : "application/x-ndjson" });
  return { blob, rows: rows.length, lost };
}

const cell = (value) => `"${written(value).replaceAll('"', '""')}"`;

/** Let the browser save it. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}
