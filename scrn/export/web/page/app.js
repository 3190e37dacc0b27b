// The page: takes photos, hands them to the worker, and shows what it says.

const MAX_PIXELS = 40e6;
const MAX_INPUT = 4e6; // pixels that the network sees at once, of long strips

const $ = (id) => document.getElementById(id);
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

const worker = new Worker("worker.js", { type: "module" });
let network;
let broken = null; // why there is no network
let asked = 0; // photos so far; an answer to an earlier one is no longer wanted
let waiting = null; // the file of the photo that is being worked on
let shown = null; // what is on the page: file, labels, shares, width, height

$("needs-server").remove();
document.querySelector("main").hidden = false;
const started = start();

async function start() {
  try {
    const response = await fetch("network.json");
    if (!response.ok) throw new Error(`network.json: ${response.status} ${response.statusText}`);
    network = await response.json();
  } catch (error) {
    return failed(error.message);
  }
  const { classes, data, terms } = network;
  $("classes").textContent =
    `It knows ${classes.length} classes, and explains every photo by them: ${classes.join(", ")}.`;
  $("terms").textContent =
    `The network’s weights${data ? ` were learned from ${data}` : ""}. ${terms ?? ""}`;
  // Threads share memory, which browsers allow to pages alone that are isolated from other origins.
  network.threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
  $("progress").hidden = false;
  say("Loading the network …");
  worker.postMessage({ kind: "load", network, threads: network.threads });
}

worker.onerror = (event) => failed(event.message || "its scripts did not load");
worker.onmessage = ({ data }) => {
  if (data.kind === "progress") $("progress").value = data.share;
  if (data.kind === "ready") {
    $("progress").hidden = true;
    document.body.dataset.ready = "";
    say(waiting ? "Working …" : "");
  }
  if (data.kind === "failed") failed(data.reason);
  if (data.id !== asked) return;
  if (data.kind === "labels") show(data);
  if (data.kind === "error") {
    complain(
      data.unreadable
        ? unreadable(waiting)
        : `${nameOf(waiting)}: the network stopped (${data.reason}). Where memory ran out, close other tabs and load the page again.`,
    );
  }
};

function failed(reason) {
  $("progress").hidden = true;
  broken =
    document.body.dataset.ready === undefined
      ? `The network could not be loaded: ${reason}`
      : `The network stopped: ${reason}. Load the page again.`;
  complain(broken);
}

function say(text, shownElsewhere = false) {
  $("status").textContent = text;
  $("status").classList.toggle("heard", shownElsewhere);
}

function complain(text) {
  asked++; // The answer to an earlier photo comes too late.
  waiting = null;
  say("");
  $("error").textContent = text;
  $("error").hidden = false;
}

const nameOf = (file) => file.name || "The photo";
const unreadable = (file) =>
  `${nameOf(file)}: expected a photo (JPEG, PNG, WebP), found a file that this browser cannot read as one.`;

/** Takes one file, from whichever way it came. */
async function take(file) {
  const id = ++asked;
  $("error").hidden = true;
  waiting = file;
  say(document.body.dataset.ready === undefined ? "Loading the network …" : "Working …");
  const [size] = await Promise.all([sizeOf(file), started]);
  if (id !== asked) return;
  const problem = broken ?? (size ? problemOf(file, size) : unreadable(file));
  if (problem) complain(problem);
  else worker.postMessage({ kind: "segment", id, file });
}

function problemOf(file, { width, height }) {
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  const side = network.short_side || short;
  const least = network.min_side;
  const most = MAX_PIXELS / 1e6;
  const expected =
    short < least
      ? `at least ${least} × ${least} pixels`
      : width * height > MAX_PIXELS
        ? `at most ${most} million pixels, of which “scrn predict” takes more`
        : (side * side * long) / short > MAX_INPUT
          ? "a photo that the network sees at once; “scrn predict --window” takes larger ones"
          : null;
  return expected && `${nameOf(file)}: expected ${expected}, found ${width} × ${height}.`;
}

/** An image's size, without its pixels, or null. */
async function sizeOf(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
    });
    return { width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

function show({ bitmap, labels, times }) {
  const { width, height } = bitmap;
  for (const canvas of [$("photo"), $("overlay")]) Object.assign(canvas, { width, height });
  $("photo").getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  const counts = new Array(network.classes.length).fill(0);
  for (const label of labels) counts[label]++;
  const shares = counts
    .map((count, index) => ({ index, share: count / labels.length }))
    .filter(({ share }) => share)
    .sort((a, b) => b.share - a.share);
  shown = { file: waiting, labels, shares, width, height };
  waiting = null;
  paint(null);
  listClasses();
  const total = times.reading + times.network + times.labels;
  const parts = `reading ${seconds(times.reading)}, network ${seconds(times.network)}, class map ${seconds(times.labels)}`;
  const threads = `${network.threads} ${network.threads === 1 ? "thread" : "threads"}`;
  $("caption").textContent =
    `${width} × ${height} pixels in ${seconds(total)} (${parts}; ${threads})`;
  document.querySelector("main").style.setProperty("--ratio", width / height);
  const words = shares.map(({ index, share }) => `${network.classes[index]} ${percent(share)}`);
  $("photo").setAttribute(
    "aria-label",
    `${nameOf(shown.file)} with its classes: ${words.join(", ")}`,
  );
  for (const id of ["result", "panel"]) $(id).hidden = false;
  document.body.classList.add("has-result");
  say(`Done: ${words.slice(0, 4).join(", ")}.`, true);
}

const percent = (share) => (share >= 0.005 ? `${Math.round(100 * share)} %` : "< 1 %");

/** Lays the classes' colours over the photo, those of all or of one. */
function paint(only) {
  const { labels, width, height } = shown;
  // Little-endian, as is every machine with a browser: the alpha is the uppermost byte.
  const table = network.colors.map(([r, g, b], index) =>
    only === null || only === index ? ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0 : 0,
  );
  const colors = new Uint32Array(labels.length);
  for (let i = 0; i < labels.length; i++) colors[i] = table[labels[i]];
  const pixels = new ImageData(new Uint8ClampedArray(colors.buffer), width, height);
  $("overlay").getContext("2d").putImageData(pixels, 0, 0);
}

function listClasses() {
  const items = shown.shares.map(({ index, share }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = index;
    button.ariaPressed = "false";
    const [swatch, name, value, bar] = ["swatch", "name", "share", "bar"].map((part) => {
      const element = document.createElement("span");
      element.className = part;
      button.append(element);
      return element;
    });
    swatch.style.backgroundColor =
      bar.style.backgroundColor = `rgb(${network.colors[index].join(" ")})`;
    bar.style.inlineSize = `${100 * share}%`;
    name.textContent = network.classes[index];
    value.textContent = percent(share);
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  $("legend").replaceChildren(...items);
}

$("legend").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const alone = button.ariaPressed !== "true";
  for (const each of $("legend").querySelectorAll("button"))
    each.ariaPressed = String(alone && each === button);
  paint(alone ? Number(button.dataset.index) : null);
});

function setOpacity() {
  $("overlay").style.opacity = $("opacity").value / 100;
  $("opacity-value").textContent = `${$("opacity").value} %`;
}
$("opacity").addEventListener("input", setOpacity);
setOpacity();

// The class below the pointer.
$("picture").addEventListener("pointermove", (event) => {
  if (!shown) return;
  const frame = $("overlay").getBoundingClientRect();
  const x = Math.floor(((event.clientX - frame.left) / frame.width) * shown.width);
  const y = Math.floor(((event.clientY - frame.top) / frame.height) * shown.height);
  const label = shown.labels[y * shown.width + x];
  const inside = x >= 0 && y >= 0 && x < shown.width && y < shown.height;
  $("tag").hidden = !inside;
  if (inside) $("tag").textContent = network.classes[label];
});
$("picture").addEventListener("pointerleave", () => ($("tag").hidden = true));

$("save").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: shown.width, height: shown.height });
  const context = canvas.getContext("2d");
  context.drawImage($("photo"), 0, 0);
  context.globalAlpha = $("opacity").value / 100;
  context.drawImage($("overlay"), 0, 0);
  canvas.toBlob((blob) => {
    if (!blob) return complain("The picture is too large for this browser to write.");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${nameOf(shown.file).replace(/\.\w+$/, "")}_classes.png`;
    link.click();
    // Some browsers read it after the click.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
});

// Photos come by the file chooser, dropped, or pasted.

$("another").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  takeFirst($("file").files);
  $("file").value = ""; // so that the same file can be chosen again
});

function takeFirst(files, otherwise) {
  if (files.length) take(files[0]);
  else if (otherwise) complain(otherwise);
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  takeFirst(
    event.dataTransfer.files,
    "Expected a file, found text or a link: save the photo first.",
  );
});
addEventListener("paste", (event) => takeFirst(event.clipboardData.files));
