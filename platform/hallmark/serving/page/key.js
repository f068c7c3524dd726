// The key: typed here, shown masked, and what it may do.

import { announce, find, make } from "./elements.js";
import { current, refresh } from "./permit.js";
import { hasKey, isKept, useKey } from "./service.js";
import { problemInWords } from "./wording.js";

const ACCEPTABLE = /^[\x21-\x7e]+$/;
const DETAILS = {
  full: "verdicts with all evidence",
  scores: "verdicts with scores, without evidence",
  label: "verdicts only",
};

export function startKey() {
  const dialog = find("key-dialog");
  const input = find("key-input");

  function open() {
    input.value = "";
    complain("");
    find("key-remember").checked = isKept();
    draw();
    dialog.showModal();
    input.focus();
  }

  function complain(text) {
    find("key-problem").textContent = text;
    find("key-problem").hidden = !text;
    input.setAttribute("aria-invalid", String(Boolean(text)));
  }

  function draw() {
    find("key-permit").replaceChildren(...permitFacts());
    find("key-forget").hidden = !hasKey();
    find("key-title").textContent = hasKey() ? "Your key" : "Enter a key";
    find("key-input").labels[0].textContent = hasKey() ? "Another key" : "Key";
  }

  async function use(text, keep) {
    if (!ACCEPTABLE.test(text)) {
      complain(text ? "A key has no spaces and only plain letters, digits and signs." : "Enter a key.");
      input.focus();
      return;
    }
    find("key-use").disabled = true;
    useKey(text, keep);
    try {
      if (await refresh()) {
        input.value = "";
        dialog.close();
        announce("Key accepted.");
        // What opened the dialog may have gone with the need for a key.
        const focused = document.activeElement;
        if (focused === document.body || dialog.contains(focused)) document.querySelector("[data-view]:not([hidden]) .primary")?.focus();
        return;
      }
      useKey("", false);
      complain("This key is not accepted. It may have been revoked or mistyped.");
    } catch (problem) {
      const said = problemInWords(problem, true);
      complain(`${said.title}. ${said.hint}`);
    } finally {
      find("key-use").disabled = false;
      draw();
    }
    input.focus();
  }

  async function forget() {
    useKey("", false);
    dialog.close();
    announce("Key forgotten.");
    try {
      await refresh();
    } catch {
      // The next request will say what is wrong.
    }
  }

  find("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    use(input.value.trim(), find("key-remember").checked);
  });
  find("key-forget").addEventListener("click", forget);
  find("key-close").addEventListener("click", () => dialog.close());
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-opens=key]")) open();
  });
  find("key-button").addEventListener("click", open);
  for (const event of ["permit", "quota"]) document.addEventListener(event, () => labelButton(draw));
}

function labelButton(draw) {
  const permit = current();
  // A service without keys has nothing to show here.
  find("key-button").hidden = permit !== null && permit.key_id === null;
  find("key-label").textContent = permit?.name ?? "Key";
  find("key-button").setAttribute("aria-label", permit?.name ? `Key: ${permit.name}` : "Enter a key");
  draw();
}

function permitFacts() {
  const permit = current();
  if (!permit || permit.key_id === null) return [];
  const quota = permit.daily_quota;
  const facts = [
    ["Name", permit.name],
    ["Key", `hallmark_${permit.key_id}_••••••`],
    ["May", permit.scopes.join(", ")],
    ["Is shown", DETAILS[permit.detail] ?? permit.detail],
    permit.rate_per_minute ? ["Rate", `${permit.rate_per_minute} requests a minute`] : null,
    ["Today", quota ? `${permit.used_today} of ${quota} photographs` : "no quota"],
  ];
  const meter = quota ? make("progress.quota", { max: quota, value: Math.min(permit.used_today, quota), aria: { label: "Quota used today" } }) : null;
  const shown = facts.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return [make("dl.ids", {}, shown), ...(meter ? [meter] : [])];
}
