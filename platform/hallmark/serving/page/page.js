// The page: which view is shown, what the key allows, and the products that several views know.

import { startAsk } from "./ask.js";
import { announce, find } from "./elements.js";
import { startEnrol } from "./enrol.js";
import { startKey } from "./key.js";
import { clearProblem, showProblem } from "./notice.js";
import { current, may, refresh } from "./permit.js";
import { acceptEverywhere } from "./photographs.js";
import { startReferences } from "./references.js";
import { hasKey, send } from "./service.js";
import { startVersions } from "./versions.js";

const SCOPES = { ask: "verify", enrol: "enrol", references: "verify", versions: "verify" };
const TITLES = { ask: "Ask", enrol: "Enrol", references: "References", versions: "Versions" };

const ask = startAsk();
const enrol = startEnrol(loadProducts);
const references = startReferences(loadProducts);
const versions = startVersions(loadProducts);
let shown = "ask";

function wanted() {
  const name = location.hash.slice(1);
  if (name in SCOPES) return name;
  return Object.keys(SCOPES).find((view) => may(SCOPES[view])) ?? "ask";
}

/** Show the view of the address, or say that the key does not allow it. */
function show(movesFocus) {
  const name = current() === null ? "ask" : wanted();
  const refused = current() !== null && !may(SCOPES[name]);
  shown = refused ? "refused" : name;
  for (const view of document.querySelectorAll("[data-view]")) view.hidden = view.dataset.view !== shown;
  for (const link of document.querySelectorAll("nav [data-for]")) {
    if (link.dataset.for === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · hallmark`;
  if (refused) find("refused-text").textContent = `This key may ${current().scopes.join(" and ")}. Here it takes one that may ${SCOPES[name]}.`;
  if (current() !== null && !refused) ({ references, versions })[name]?.open();
  if (movesFocus) {
    const heading = find(`view-${shown}`).querySelector("h1");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

/** What the key allows has changed: nav, notices, products. */
function allow() {
  const permit = current();
  for (const link of document.querySelectorAll("nav [data-scope]")) {
    link.hidden = permit === null ? link.dataset.for !== "ask" : !may(link.dataset.scope);
  }
  find("key-wanted").hidden = permit !== null;
  find("key-wanted-title").textContent = hasKey() ? "Your key is not accepted any more" : "This service asks for a key";
  show(false);
  if (permit !== null) clearKeyProblems();
  if (may("verify")) loadProducts();
}

/** Problems that asked for another key are over with one. */
function clearKeyProblems() {
  for (const place of document.querySelectorAll(".problem-place")) {
    if (place.querySelector("[data-opens=key]")) clearProblem(place);
  }
}

/** Products are offered in three views. Without them one can still ask and enrol, so a failure is not shown. */
async function loadProducts() {
  if (!may("verify")) return;
  let products;
  try {
    ({ products } = await send("GET", "v1/products"));
  } catch {
    return;
  }
  const names = [...new Set(products.map((one) => one.product))];
  ask.fillProducts(names);
  enrol.fillProducts(names, [...new Set(products.map((one) => one.part))]);
  references.fillProducts(products);
}

async function start() {
  const place = find("service-problem");
  clearProblem(place);
  try {
    await refresh();
  } catch (error) {
    find("key-button").hidden = false;
    showProblem(place, error, () => start().then(() => announce(current() ? "The service answers." : "")), false);
  }
}

document.addEventListener("permit", allow);
window.addEventListener("hashchange", () => show(true));
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address names the view.
  event.preventDefault();
  find("main").focus();
});
acceptEverywhere(() => ({ ask: ask.photographs, enrol: enrol.photographs })[shown]);
startKey();
show(false);
start();
