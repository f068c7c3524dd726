// What the key in use may do. Views listen for the event "permit" of the document.

import { Problem, send } from "./service.js";

let permit = null;

/** As GET /v1/key answers; null while nothing is known or no key is accepted. */
export const current = () => permit;

/** Whether the key has a scope; admin has them all. */
export const may = (scope) => permit !== null && (permit.scopes.includes(scope) || permit.scopes.includes("admin"));

/** "full", "scores" or "label": how much of a verdict the key is shown. */
export const detail = () => permit?.detail ?? "full";

/**
 * Ask what the key may do, and tell the views.
 * @throws {Problem} other than 401, after which `current` is null
 */
export async function refresh() {
  try {
    permit = await send("GET", "v1/key");
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 401) throw problem;
    permit = null;
  }
  document.dispatchEvent(new Event("permit"));
  return permit;
}

/** After something that counts: the quota, quietly. */
export async function recount() {
  if (!permit || permit.daily_quota === null || permit.daily_quota === undefined) return;
  try {
    const told = await send("GET", "v1/key");
    permit = told;
    document.dispatchEvent(new Event("quota"));
  } catch {
    // The next request will say what is wrong.
  }
}
