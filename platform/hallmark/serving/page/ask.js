// Ask: photographs of one item in, a verdict out.

import { announce, find, focusOn, icon, make } from "./elements.js";
import { clearProblem, showProblem } from "./notice.js";
import { detail, recount } from "./permit.js";
import { Photographs } from "./photographs.js";
import { withProgress } from "./progress.js";
import { send } from "./service.js";
import { LABELS, count } from "./wording.js";
import { itemVerdict, oneVerdict } from "./verdict.js";

const MOST = 8;

/** The view; `photographs` is what pasted pictures are added to. */
export function startAsk() {
  const form = find("ask-form");
  const submit = find("ask-submit");
  const place = find("ask-problem");
  let urls = [];
  const photographs = new Photographs(find("ask-photographs"), {
    most: MOST,
    said: `One to ${MOST} photographs of one item`,
    onChange: () => {
      clearProblem(place);
      labelSubmit();
    },
  });

  function labelSubmit() {
    const several = photographs.files.length > 1;
    submit.textContent = several ? `Ask about ${count(photographs.files.length, "photograph")}` : "Ask for a verdict";
    find("ask-clear").hidden = !photographs.files.length && !find("ask-result").hasChildNodes();
  }

  async function ask() {
    clearProblem(place);
    if (!photographs.files.length) {
      showMissing(place, photographs);
      return;
    }
    const asked = { files: [...photographs.files], product: find("ask-product").value };
    const said = { sending: "Sending", working: asked.files.length > 1 ? "Examining the photographs" : "Examining the photograph" };
    try {
      const answer = await withProgress(find("ask-progress"), submit, said, (tools) =>
        send("POST", "v1/verdicts", { form: formOf(asked), ...tools }),
      );
      show(answer, asked);
    } catch (error) {
      showProblem(place, error, ask);
    }
    recount();
  }

  function show(answer, asked) {
    for (const url of urls) URL.revokeObjectURL(url);
    urls = asked.files.map((file) => URL.createObjectURL(file));
    const actions = actionsFor(answer, asked);
    const shown = answer.item ? itemVerdict(answer, urls, asked.product, actions) : oneVerdict(answer, urls[0], asked.product, actions);
    find("ask-guide").hidden = true;
    find("ask-result").replaceChildren(shown);
    find("ask-columns").classList.add("answered");
    labelSubmit();
    announce(`Verdict: ${LABELS[(answer.item ?? answer).verdict]}.`);
    focusOn(shown.querySelector("[data-takes=focus]"));
  }

  function startAgain() {
    photographs.clear();
    clearProblem(place);
    for (const url of urls) URL.revokeObjectURL(url);
    urls = [];
    find("ask-result").replaceChildren();
    find("ask-guide").hidden = false;
    find("ask-columns").classList.remove("answered");
    labelSubmit();
    photographs.chooser.focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  find("ask-clear").addEventListener("click", startAgain);
  return { photographs, fillProducts };
}

function formOf({ files, product }) {
  const form = new FormData();
  for (const file of files) form.append("photograph", file, file.name);
  if (product) form.append("product", product);
  return form;
}

function showMissing(place, photographs) {
  const words = make("p.field-problem", {}, "Choose a photograph first.");
  place.replaceChildren(words);
  announce(words.textContent);
  photographs.chooser.focus();
}

/** Choices of the product, keeping what was chosen. */
function fillProducts(names) {
  const select = find("ask-product");
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => make("option", { value: name }, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

function actionsFor(answer, asked) {
  const place = make("div.problem-place");
  const progress = make("div");
  const id = (answer.item ? answer.photographs[0] : answer).image_id?.slice(0, 12) ?? "verdict";
  const certificate = (button, kind, ending) => async () => {
    clearProblem(place);
    const said = { sending: "Sending", working: "Signing the certificate" };
    try {
      const blob = await withProgress(progress, button, said, (tools) =>
        send("POST", "v1/certificates", { form: formOf(asked), headers: { Accept: kind }, as: "blob", ...tools }),
      );
      save(blob, `certificate-${id}.${ending}`);
      announce("Certificate saved.");
    } catch (error) {
      showProblem(place, error, () => button.click());
    }
    recount();
  };
  const json = make("button", { type: "button" }, icon("download"), "Certificate");
  const print = make("button", { type: "button" }, icon("print"), "Printable certificate");
  json.addEventListener("click", certificate(json, "application/json", "json"));
  print.addEventListener("click", certificate(print, "text/html", "html"));
  const copy = make("button", { type: "button" }, icon("copy"), "Copy verdict");
  copy.addEventListener("click", () => copyText(JSON.stringify(answer, null, 2), copy));
  // A certificate holds the whole verdict, so a key that is shown less gets none.
  const signed = detail() === "full" ? [json, print] : [];
  return make("div.banner-actions", {}, make("div.actions", {}, signed, copy), progress, place);
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function copyText(text, button) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside a secure context, such as a plain-HTTP address of the local network.
    const area = make("textarea.unseen", { value: text });
    button.after(area);
    area.select();
    copied = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const said = copied ? "Copied" : "Could not copy";
  announce(copied ? "Verdict copied as JSON." : "The verdict could not be copied.");
  button.lastChild.textContent = said;
  setTimeout(() => (button.lastChild.textContent = "Copy verdict"), 2500);
}
