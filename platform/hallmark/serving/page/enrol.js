// Enrol: photographs of known authenticity become references.

import { announce, find, focusOn, icon, make } from "./elements.js";
import { clearProblem, showProblem } from "./notice.js";
import { recount } from "./permit.js";
import { Photographs, picture } from "./photographs.js";
import { withProgress } from "./progress.js";
import { Problem, send } from "./service.js";
import { count, problemInWords } from "./wording.js";
import { chip } from "./verdict.js";

const MOST = 32;
const LONGEST_NAME = 100;

/** The view. @param {() => void} onEnrolled told when the gallery has changed */
export function startEnrol(onEnrolled) {
  const place = find("enrol-problem");
  const submit = find("enrol-submit");
  const attempt = { content: "", key: "" };
  let urls = [];
  const photographs = new Photographs(find("enrol-photographs"), {
    most: MOST,
    said: `One to ${MOST} photographs`,
    onChange: () => clearProblem(place),
  });

  function check(values) {
    const product = find("enrol-product");
    const missing = values.product ? "" : "Name the product.";
    find("enrol-product-problem").textContent = missing;
    find("enrol-product-problem").hidden = !missing;
    product.setAttribute("aria-invalid", String(Boolean(missing)));
    if (missing) product.setAttribute("aria-describedby", "enrol-product-problem");
    else product.removeAttribute("aria-describedby");
    if (!photographs.files.length) {
      place.replaceChildren(make("p.field-problem", {}, "Choose a photograph first."));
      announce("Choose a photograph first.");
      photographs.chooser.focus();
      return false;
    }
    if (missing) product.focus();
    return !missing;
  }

  async function enrol() {
    clearProblem(place);
    const values = fields();
    if (!check(values)) return;
    const files = named(photographs.files);
    const headers = { "Idempotency-Key": keyFor(attempt, files, values) };
    try {
      const answer = await withProgress(find("enrol-progress"), submit, { sending: "Sending", working: "Enrolling" }, (tools) =>
        send("POST", "v1/references", { form: formOf(files, values), headers, ...tools }),
      );
      attempt.content = "";
      show(answer, files, values);
    } catch (error) {
      if (error instanceof Problem && error.reason === "idempotency_key_reused") attempt.content = "";
      showProblem(place, error, enrol);
    }
    recount();
  }

  function show(answer, files, values) {
    for (const url of urls) URL.revokeObjectURL(url);
    urls = files.map(({ file }) => URL.createObjectURL(file));
    const refused = answer.refused ?? [];
    const heading = make("h2", { tabIndex: -1 }, headline(answer));
    const rows = files.map((one, index) => outcome(one, urls[index], answer, values));
    find("enrol-guide").hidden = true;
    find("enrol-result").replaceChildren(
      make("section.card", { aria: { label: "Enrolled" } }, heading, make("p.hint", {}, `Gallery version ${answer.gallery_version}. Queries use it within seconds.`), make("ul.outcomes", {}, rows)),
    );
    // What was refused stays, so that nothing has to be chosen again.
    photographs.keep(files.filter(({ name }) => refused.some((one) => one.file === name)).map(({ file }) => file));
    announce(heading.textContent);
    focusOn(heading);
    onEnrolled();
  }

  find("enrol-form").addEventListener("submit", (event) => {
    event.preventDefault();
    enrol();
  });
  return { photographs, fillProducts };
}

function fields() {
  return {
    product: find("enrol-product").value.trim(),
    part: find("enrol-part").value.trim() || "whole",
    item_id: find("enrol-item").value.trim(),
    authenticity: document.querySelector("#enrol-form input[name=authenticity]:checked").value,
  };
}

/** The files, each with a plain name that no other one of them has: the answer tells them apart by name. */
function named(files) {
  const taken = new Set();
  return files.map((file) => {
    const plain = file.name.replace(/[\p{C}\p{Zl}\p{Zp}"]/gu, "_").slice(-LONGEST_NAME);
    let name = plain;
    for (let copy = 2; taken.has(name); copy += 1) name = plain.replace(/(\.[^.]*)?$/, ` (${copy})$1`);
    taken.add(name);
    return { file, name };
  });
}

/** The same key for every try of the same form, so that a batch that did arrive is not enrolled twice. */
function keyFor(attempt, files, values) {
  const content = JSON.stringify([values, files.map(({ file, name }) => [name, file.size, file.lastModified])]);
  if (attempt.content !== content) {
    attempt.content = content;
    attempt.key = freshKey();
  }
  return attempt.key;
}

function freshKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Outside a secure context there is no randomUUID.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function formOf(files, values) {
  const form = new FormData();
  for (const { file, name } of files) form.append("photograph", file, name);
  for (const [name, value] of Object.entries(values)) form.append(name, value);
  return form;
}

function headline(answer) {
  const created = answer.references.filter((one) => one.created).length;
  const known = answer.references.length - created;
  const refused = answer.refused?.length ?? 0;
  const said = [
    created || (!known && !refused) ? `${count(created, "reference")} enrolled` : "",
    known ? `${known} already there` : "",
    refused ? `${refused} refused` : "",
  ].filter(Boolean);
  return said.join(", ");
}

function outcome({ name }, url, answer, values) {
  const enrolled = answer.references.find((one) => one.file === name);
  const refused = (answer.refused ?? []).find((one) => one.file === name);
  const words = refused ? problemInWords(new Problem("answer", refused.problem), true) : null;
  const said = enrolled ? (enrolled.created ? "Enrolled" : "Already enrolled; not added again") : (words?.title ?? "No answer about this file");
  return make(
    `li.${enrolled ? "enrolled" : "refused"}`,
    {},
    picture(url, ""),
    make(
      "div",
      {},
      make("p.file-name", {}, name),
      make("p.outcome-word", {}, icon(enrolled ? "tick" : "alert", enrolled ? "" : "failed"), said),
      words?.detail && make("p.hint", {}, words.detail),
      words?.hint && make("p.hint", {}, words.hint),
      enrolled?.created && make("p", {}, chip(values.authenticity)),
    ),
  );
}

/** What is known already, as suggestions. */
function fillProducts(names, parts) {
  find("known-products").replaceChildren(...names.map((name) => make("option", { value: name })));
  find("known-parts").replaceChildren(...parts.map((part) => make("option", { value: part })));
}
