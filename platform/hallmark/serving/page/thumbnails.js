// Thumbnails of references. They need the key, so an <img> cannot fetch them by itself.

import { make } from "./elements.js";
import { Problem, send } from "./service.js";

const AT_ONCE = 4;
const KEPT = 400;
const TRIES = 3;

const known = new Map();
const waiting = [];
let running = 0;

/** The blob URL of a reference's thumbnail, fetched once. */
export function thumbnail(referenceId) {
  if (!known.has(referenceId)) {
    if (known.size >= KEPT) forget(known.keys().next().value);
    const found = queued(() => fetchPatiently(referenceId)).then((blob) => URL.createObjectURL(blob));
    found.catch(() => known.delete(referenceId));
    known.set(referenceId, found);
  }
  return known.get(referenceId);
}

function forget(referenceId) {
  // The image on the page keeps its pixels; only the address goes.
  known.get(referenceId).then(URL.revokeObjectURL, () => {});
  known.delete(referenceId);
}

async function fetchPatiently(referenceId) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await send("GET", `v1/references/${encodeURIComponent(referenceId)}/thumbnail`, { as: "blob" });
    } catch (problem) {
      const later = problem instanceof Problem && [429, 503].includes(problem.status);
      if (!later || tried >= TRIES) throw problem;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(problem.retryAfter ?? 1, 10)));
    }
  }
}

function queued(work) {
  return new Promise((resolve, reject) => {
    waiting.push(() => work().then(resolve, reject));
    next();
  });
}

function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  const done = () => {
    running -= 1;
    next();
  };
  waiting.shift()().then(done, done);
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      load(entry.target);
    }
  },
  { rootMargin: "300px" },
);

/** An image of a reference that is fetched when it comes near the window. */
export function referencePicture(referenceId, alt) {
  const frame = make("span.thumbnail", { data: { reference: referenceId, alt } });
  watcher.observe(frame);
  return frame;
}

async function load(frame) {
  try {
    const url = await thumbnail(frame.dataset.reference);
    const image = make("img", { src: url, alt: frame.dataset.alt });
    image.addEventListener("error", () => frame.replaceChildren(make("span.no-picture", {}, "No picture")), { once: true });
    frame.replaceChildren(image);
  } catch {
    frame.replaceChildren(make("span.no-picture", {}, "No picture"));
  }
  frame.dispatchEvent(new Event("settled"));
}
