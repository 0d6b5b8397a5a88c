// The camera: a preview and a shutter in a dialog, photo after photo; where a page may not use it, the phone's own camera.

import { byId, count } from "/page/dom.js";
import { still } from "/page/photos.js";

let stream = null, cameras = [], current = 0, taken = 0;

/** Wire the dialog; each photo taken is given to `add([file])`. */
export function startCamera(add) {
  const dialog = byId("camera");
  byId("take").addEventListener("click", () => open(dialog));
  byId("shutter").addEventListener("click", () => shoot(add));
  byId("turn").addEventListener("click", () => { current = (current + 1) % cameras.length; show(); });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}

/** A page that did not come over https may not use the camera, except from this machine: then the file chooser opens it on phones. */
async function open(dialog) {
  if (!navigator.mediaDevices?.getUserMedia) return byId("capture").click();
  taken = 0;
  dialog.showModal();
  await show();
}

async function show() {
  stop();
  const words = byId("camera-words"), shutter = byId("shutter");
  shutter.disabled = true;
  words.textContent = "Waiting for the camera…";
  const wish = cameras.length ? { deviceId: { exact: cameras[current].deviceId } } : { facingMode: { ideal: "environment" } };
  try {
    const found = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...wish, width: { ideal: 1920 }, height: { ideal: 1080 } } });
    if (!byId("camera").open) return found.getTracks().forEach((one) => one.stop());
    stream = found;
    const video = byId("video");
    video.srcObject = stream;
    await video.play();
    await list();
    words.textContent = "";
    shutter.disabled = false;
    shutter.focus();
  } catch (problem) {
    words.textContent = reason(problem);
  }
}

/** The cameras have names only once one may be used. */
async function list() {
  if (!cameras.length) {
    cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput" && one.deviceId);
    const id = stream?.getVideoTracks()[0]?.getSettings().deviceId;
    current = Math.max(0, cameras.findIndex((one) => one.deviceId === id));
  }
  byId("turn").hidden = cameras.length < 2;
}

function reason(problem) {
  if (problem.name === "NotAllowedError") return "The browser may not use the camera here: allow it in the address bar, or choose photos instead.";
  if (problem.name === "NotFoundError" || problem.name === "OverconstrainedError") return "No camera was found: choose photos instead.";
  if (problem.name === "NotReadableError") return "Another program is using the camera: close it there, then try again.";
  return "The camera did not start: choose photos instead.";
}

async function shoot(add) {
  const shutter = byId("shutter");
  shutter.disabled = true;
  try {
    const time = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-");
    add([await still(byId("video"), `camera ${time} ${taken + 1}.jpg`)]);
    taken += 1;
    byId("camera-words").textContent = `${count(taken, "photo")} taken; the answers stand behind this window.`;
  } catch {
    byId("camera-words").textContent = "That photo did not come out: take it again.";
  } finally {
    shutter.disabled = false;
    shutter.focus();
  }
}

function stop() {
  stream?.getTracks().forEach((one) => one.stop());
  stream = null;
  byId("video").srcObject = null;
}

