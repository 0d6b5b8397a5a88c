// Photos as the page holds them: read where the browser can, made smaller where the server's limits ask for it, and as data URIs.
// Knows nothing of answers.

import { Trouble } from "/page/api.js";

const LONGEST = 2048; // pixels, of a photo that must be made smaller
const THUMB = 720; // pixels, of what a card shows
const QUALITY = 0.9;
const READ = new Set(["jpeg", "jpg", "png", "webp", "avif", "bmp", "tiff", "gif"].map((kind) => `image/${kind}`)); // by the server
const AROUND = 4096; // bytes of a request that are not the photo: its name and the words around it

/** {blob: what is sent, thumb: Blob or null, width, height, changed: "" or how it was}. Raises Trouble for what cannot be sent. */
export async function prepare(file, limits) {
  if (!file.size) throw new Trouble("photo", "The file is empty.");
  if (file.type && !file.type.startsWith("image/")) throw new Trouble("photo", `This is no photo but ${file.type}.`);
  const bitmap = await decoded(file);
  const heavy = file.size > most(limits);
  if (!bitmap) {
    if (heavy) throw new Trouble("photo", `The file has ${megabytes(file.size)}, the server takes ${megabytes(most(limits))}, and this browser cannot open it to make it smaller.`);
    return { blob: file, thumb: null, width: 0, height: 0, changed: "" };
  }
  try {
    const { width, height } = bitmap;
    const smaller = heavy || width * height > (limits?.max_pixels ?? Infinity);
    const foreign = (file.type && !READ.has(file.type)) || /\.hei[cf]$/i.test(file.name);
    const blob = smaller || foreign ? await within(bitmap, limits) : file;
    return { blob, thumb: await jpeg(bitmap, THUMB, 0.85), width, height, changed: smaller ? "sent smaller" : foreign ? "sent as JPEG" : "" };
  } finally {
    bitmap.close();
  }
}

/** The photo upright, as a bitmap, or null where this browser cannot open it. */
async function decoded(blob) {
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

/** The longest side LONGEST, or less where the server takes fewer pixels or bytes. */
async function within(bitmap, limits) {
  const area = Math.sqrt((limits?.max_pixels ?? Infinity) / (bitmap.width * bitmap.height));
  let side = Math.floor(Math.min(LONGEST, area * Math.max(bitmap.width, bitmap.height)));
  for (;;) {
    const blob = await jpeg(bitmap, side, QUALITY);
    if (blob.size <= most(limits) || side < 32) return blob;
    side = Math.floor(side * 0.7);
  }
}

/** A JPEG whose longest side is at most `side`, transparent parts on white. */
function jpeg(bitmap, side, quality) {
  const ratio = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * ratio));
  canvas.height = Math.max(1, Math.round(bitmap.height * ratio));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Trouble("photo", "This browser cannot save the photo."))), "image/jpeg", quality);
  });
}

/** A still of a video as a JPEG file. */
export async function still(video, name) {
  const bitmap = await createImageBitmap(video);
  try {
    return new File([await jpeg(bitmap, Math.max(bitmap.width, bitmap.height), 0.92)], name, { type: "image/jpeg" });
  } finally {
    bitmap.close();
  }
}

/** `data:image/...;base64,...` of at most `most` characters; made a smaller JPEG when it must. null where this browser cannot. */
export async function dataUri(blob, most = Infinity) {
  if ((blob.size * 4) / 3 + 64 <= most) return uri(blob);
  const bitmap = await decoded(blob);
  if (!bitmap) return null;
  try {
    for (let side = Math.min(LONGEST, Math.max(bitmap.width, bitmap.height)); side >= 32; side = Math.floor(side * 0.8)) {
      const made = await uri(await jpeg(bitmap, side, QUALITY));
      if (made.length <= most) return made;
    }
    return null;
  } finally {
    bitmap.close();
  }
}

async function uri(blob) {
  const type = /^image\/[\w.+-]+$/.test(blob.type) ? blob.type : "image/unknown"; // an import looks at the bytes, not at the name
  const text = await new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(new Trouble("photo", "The file is no longer there."));
    reader.readAsDataURL(blob);
  });
  return `data:${type};base64,${text.slice(text.indexOf(",") + 1)}`;
}

/** Bytes of a photo: the server counts the whole request. */
const most = (limits) => (limits?.max_bytes ?? Infinity) - AROUND;

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 1)} MB`;
