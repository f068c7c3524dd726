// What the page says: labels, numbers, errors in words, and how to take a photograph again.

export const LABELS = {
  genuine: "Genuine",
  counterfeit: "Counterfeit",
  inconclusive: "Inconclusive",
  not_in_gallery: "Not in gallery",
};

export const MEANINGS = {
  genuine: "It agrees with what is known to be genuine.",
  counterfeit: "It is a known product, and differs where genuine ones do not.",
  inconclusive: "The evidence does not decide. A person must look.",
  not_in_gallery: "The gallery knows no such product, so nothing is said about its authenticity. That is not the same as counterfeit.",
};

export const FORMATS = "JPEG, PNG, WebP, TIFF or BMP";

const MINUS = "\u2212";
const minus = (text) => text.replace("-", MINUS);

/** A number with so many decimals; a dash where there is none. */
export const number = (value, decimals = 3) => (isNumber(value) ? minus(value.toFixed(decimals)) : "–");

/** The same with its sign. */
export const signed = (value, decimals = 3) =>
  isNumber(value) ? (value < 0 ? "" : "+") + minus(value.toFixed(decimals)) : "–";

/** A share as a percentage; never 0 % or 100 % where it is neither. */
export function percent(share) {
  if (!isNumber(share)) return "–";
  if (share > 0 && share < 0.01) return "under 1\u00a0%";
  if (share < 1 && share > 0.99) return "over 99\u00a0%";
  return `${Math.round(share * 100)}\u00a0%`;
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (amount, noun) => `${amount.toLocaleString("en")} ${noun}${amount === 1 ? "" : "s"}`;

/** A wait in words. */
export function wait(seconds) {
  if (seconds < 120) return count(Math.max(1, Math.ceil(seconds)), "second");
  if (seconds < 7200) return count(Math.ceil(seconds / 60), "minute");
  return count(Math.ceil(seconds / 3600), "hour");
}

export const bytes = (size) =>
  size < 1_000_000 ? `${Math.max(1, Math.round(size / 1000))} kB` : `${(size / 1_000_000).toFixed(1)} MB`;

/** The day of a moment. */
export function day(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  return at.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** A moment as people write it, in the reader's own time. */
export function moment(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  return at.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

const REASONS = {
  empty: ["The file is empty", "Choose the photograph again."],
  too_many_bytes: ["Too large", "Send fewer or smaller photographs."],
  too_many_pixels: ["The photograph has too many pixels", "Send it at the camera's usual resolution."],
  too_small: ["The photograph is too small", "Move closer, or send the picture at full size."],
  unknown_format: ["Not a photograph the service reads", `Send ${FORMATS}.`],
  corrupt: ["The photograph is damaged", "It may have been cut short on its way. Choose it again or take it anew."],
  no_gallery: ["There is no gallery", "This service tells products by a trained network, and compares with no references."],
  certificates_off: ["This service issues no certificates", ""],
  quota: ["Today's quota is used up", "It starts anew at midnight UTC."],
  wrong_keys: ["Too many wrong keys", ""],
  idempotency_key_reused: ["This batch was changed after it was sent", "Press Enrol once more."],
};

const STATUSES = {
  400: ["The service could not read the request", "Try again."],
  403: ["This key does not allow that", "Use a key that does."],
  404: ["Not found", "It may have been retired meanwhile. Reload the list."],
  409: ["That does not fit what is in the gallery", ""],
  413: ["Too large", "Send fewer or smaller photographs."],
  415: ["Not a photograph the service reads", `Send ${FORMATS}.`],
  422: ["The service cannot use this", ""],
  429: ["Too many requests", ""],
  503: ["The service is not ready", ""],
};

/**
 * A problem in words.
 * @param {import("./service.js").Problem} problem
 * @param {boolean} hasKey whether a key was sent
 * @returns {{title: string, detail: string, hint: string, wait: number|null, needsKey: boolean, again: boolean}}
 */
export function problemInWords(problem, hasKey) {
  const said = { title: "", detail: problem.detail, hint: "", wait: null, needsKey: false, again: true };
  if (problem.kind === "network") {
    return { ...said, title: "No connection to the service", hint: "Check the network, then try again." };
  }
  if (problem.kind === "timeout") {
    return { ...said, title: "The service took too long", hint: "It may be busy. Try again in a while." };
  }
  const { status } = problem;
  if (status === 401) {
    const title = hasKey ? "This key is not accepted" : "A key is needed";
    return { ...said, title, detail: "", hint: hasKey ? "It may have been revoked or mistyped." : "", needsKey: true };
  }
  if (status >= 500 && status !== 503) {
    return { ...said, title: "The service failed", hint: "Try again. If it happens again, report the request." };
  }
  const [title, hint] = REASONS[problem.reason] ?? STATUSES[status] ?? [problem.title || "Something went wrong", ""];
  const later = status === 429 || status === 503;
  // Sending the same once more would fail the same way.
  const again = later || status === 400 || problem.reason === "idempotency_key_reused";
  return { ...said, title, hint, again, needsKey: status === 403, wait: later ? (problem.retryAfter ?? 2) : null };
}

const COMPLAINTS = [
  [/too blurred/i, "Too blurred", "Hold the camera still, tap to focus on the print, and take it again."],
  [/no texture/i, "Nothing to see", "Point the camera at the article, focus, and take it again."],
  [/too dark/i, "Too dark", "Take it again in more light."],
  [/too bright/i, "Too bright", "Take it again in less light, or with a shorter exposure."],
  [/black or white/i, "Glare or deep shadow", "Take it again without flash, turned away from the light."],
  [/global similarities say the opposite/i, "The two stages disagree", "Photograph it again, straight on and filling the frame. If they still disagree, a person must look."],
  [/no genuine reference/i, "No genuine reference", "Someone with an enrol key must enrol genuine photographs of this part first."],
  [/show different products/i, "Different products", "Ask about photographs of one item at a time."],
  [/counterfeit by itself/i, "One part speaks against the others", "The item may carry a genuine part beside forged ones. A person must look."],
  [/not finite/i, "The evidence could not be computed", "Tell whoever runs the service: a bundle or a gallery may be damaged."],
  [/not trained on the product/i, "Unknown product", "The bundle tells only the products it was trained on. Ask again with every product."],
  [/gallery is empty/i, "The gallery is empty", "Someone with an enrol key must enrol references first."],
];

// Advice only: what a photograph must have to be judged is fitted, and the service decides it.
const SMALL_PX = 500;
const DARK = 0.2;
const BRIGHT = 0.85;
const CLIPPED = 0.2;

/**
 * Why a photograph was not decided and what to do about it.
 * @returns {Array<{title: string, text: string}>} the most important first; empty where there is nothing to do
 */
export function advice(answer, askedProduct = "") {
  if (answer.verdict === "genuine" || answer.verdict === "counterfeit") return [];
  const found = COMPLAINTS.filter(([pattern]) => pattern.test(answer.reason ?? "")).map(([, title, text]) => ({ title, text }));
  const seen = new Set(found.map(({ title }) => title));
  for (const hint of qualityHints(answer.quality)) if (!seen.has(hint.title)) found.push(hint);
  if (answer.verdict === "not_in_gallery") {
    if (askedProduct && !/not trained on/i.test(answer.reason ?? "")) {
      found.push({ title: "Another product?", text: `Only ${askedProduct} was asked about. Ask again with every product.` });
    }
    found.push({ title: "Another part?", text: "Photograph a part that is enrolled, straight on and filling the frame." });
  } else if (!found.length) {
    found.push({ title: "Between the thresholds", text: "Add sharper photographs, or photographs of other parts. If it stays so, a person must look." });
  }
  return found;
}

function qualityHints(quality) {
  if (!quality) return [];
  const hints = [];
  if (Math.min(quality.width, quality.height) < SMALL_PX) {
    hints.push({ title: "Small", text: `It has ${quality.width} × ${quality.height} px. Move closer, or send the picture at full size.` });
  }
  if (quality.brightness < DARK) hints.push({ title: "Too dark", text: "Take it again in more light." });
  if (quality.brightness > BRIGHT) hints.push({ title: "Too bright", text: "Take it again in less light." });
  if (quality.clipped > CLIPPED) {
    hints.push({ title: "Glare or deep shadow", text: "Take it again without flash, turned away from the light." });
  }
  return hints;
}
