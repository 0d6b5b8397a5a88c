// How photos come in: chosen, dropped, pasted; folders too. The camera has its own file. Knows nothing of what becomes of them.

import { byId } from "/page/dom.js";

let over = 0; // dragenter and dragleave come for every element on the way

/** Wire the ways in; whatever comes is given to `add(files)`. */
export function startIntake(add) {
  for (const id of ["files", "capture"]) {
    byId(id).addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
  }
  byId("choose").addEventListener("click", () => byId("files").click());
  window.addEventListener("dragenter", (event) => { if (holdsFiles(event)) { over += 1; lit(true); } });
  window.addEventListener("dragleave", (event) => { if (holdsFiles(event)) { over -= 1; lit(over > 0); } });
  window.addEventListener("dragover", (event) => { if (holdsFiles(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; } });
  window.addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over = 0;
    lit(false);
    add(await filesOf(event.dataTransfer));
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  });
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files") || event.dataTransfer?.types.includes("text/uri-list");
const lit = (on) => byId("drop").classList.toggle("over", on);

/** All files of a drop or a paste, those in dropped folders too, in the order of their names. */
async function filesOf(transfer) {
  const entries = [...(transfer.items ?? [])].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((one) => one.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(walk))).flat();
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return entry.fullPath.lastIndexOf("/") > 0 && !file.type.startsWith("image/") ? [] : [file]; // a folder may hold other things too
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return (await Promise.all(found.map(walk))).flat();
}
