// The one way to the service: sends a request with the key, and turns whatever goes wrong into a Problem.

const KEPT = "hallmark-key";
const PATIENCE_MS = 180_000;

/** What went wrong. `kind`: "answer" (the service said so), "network", "timeout" or "cancelled". */
export class Problem extends Error {
  constructor(kind, told = {}) {
    super(told.title ?? kind);
    this.kind = kind;
    this.status = told.status ?? 0;
    this.title = told.title ?? "";
    this.detail = told.detail ?? "";
    this.reason = told.reason ?? "";
    this.instance = told.instance ?? "";
    /** Seconds to wait, or null. */
    this.retryAfter = told.retryAfter ?? null;
  }
}

let key = "";
try {
  key = sessionStorage.getItem(KEPT) ?? "";
} catch {
  // Storage is off: the key lives in memory alone.
}

export const hasKey = () => key !== "";

export function isKept() {
  try {
    return sessionStorage.getItem(KEPT) !== null;
  } catch {
    return false;
  }
}

/** Use a key from now on; "" forgets it. */
export function useKey(text, keep) {
  key = text;
  try {
    if (keep && text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // As above.
  }
}

/**
 * Send a request.
 * @param {string} method
 * @param {string} path relative to the page, so that the service may live below a prefix
 * @param {object} [how] form: FormData; headers; signal: AbortSignal; onSent(share 0..1) while the form is sent; as: "json" | "blob"
 * @returns {Promise<any>} the JSON, or the Blob
 * @throws {Problem}
 */
export function send(method, path, how = {}) {
  const { form = null, headers = {}, signal = null, onSent = null, as = "json" } = how;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new Problem("cancelled"));
      return;
    }
    // fetch cannot tell how much of a form has been sent.
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    // A slow line may take its time to send photographs; the wait that is bounded is the one for the answer.
    const began = performance.now();
    const startWaiting = () => (request.timeout = performance.now() - began + PATIENCE_MS);
    if (form) request.upload.addEventListener("load", startWaiting);
    else startWaiting();
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    const cancel = () => request.abort();
    signal?.addEventListener("abort", cancel);
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", cancel));
    if (onSent) {
      request.upload.addEventListener("progress", (event) => onSent(event.total ? event.loaded / event.total : 0));
      request.upload.addEventListener("load", () => onSent(1));
    }
    request.addEventListener("load", () => read(request, as).then(resolve, reject));
    request.addEventListener("error", () => reject(new Problem("network")));
    request.addEventListener("timeout", () => reject(new Problem("timeout")));
    request.addEventListener("abort", () => reject(new Problem("cancelled")));
    request.send(form);
  });
}

async function read(request, as) {
  const ok = request.status >= 200 && request.status < 300;
  if (ok && as === "blob") return request.response;
  let told = null;
  try {
    told = JSON.parse(await request.response.text());
  } catch {
    if (ok) throw new Problem("answer", { status: request.status, title: "The answer cannot be read" });
  }
  if (ok) return told;
  const fields = told && typeof told === "object" ? told : {};
  throw new Problem("answer", {
    ...fields,
    status: request.status,
    title: fields.title ?? request.statusText,
    instance: fields.instance || request.getResponseHeader("x-request-id") || "",
    retryAfter: seconds(request.getResponseHeader("Retry-After")),
  });
}

/** Seconds of a Retry-After header, which may also be a date; null where there is none. */
function seconds(header) {
  if (!header) return null;
  const number = Number(header);
  const wait = Number.isFinite(number) ? number : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(0, Math.ceil(wait)) : null;
}
