// Long work: how far it is, that it may take longer, and a way to stop it.

import { announce, make } from "./elements.js";
import { percent } from "./wording.js";

const SLOW_MS = 8000;

/**
 * Do long work with a progress panel in `place`, a Cancel button, and `button` out of reach meanwhile.
 * @param {HTMLElement} place
 * @param {HTMLButtonElement} button that started it; focus goes back to it
 * @param {{sending: string, working: string}} said
 * @param {(tools: {signal: AbortSignal, onSent: (share: number) => void}) => Promise<T>} work
 * @returns {Promise<T>}
 * @template T
 */
export async function withProgress(place, button, said, work) {
  const controller = new AbortController();
  const label = make("p.progress-label", {}, said.sending);
  const bar = make("progress", { max: 1, aria: { label: said.sending } });
  const slow = make("p.hint", {});
  const cancel = make("button", { type: "button", on: { click: () => controller.abort() } }, "Cancel");
  const onSent = (share) => {
    if (share < 1) {
      bar.value = share;
      label.textContent = `${said.sending} ${percent(share)}`;
      return;
    }
    bar.removeAttribute("value");
    bar.setAttribute("aria-label", said.working);
    label.textContent = said.working;
  };
  place.replaceChildren(make("div.progress", {}, make("div", {}, label, bar, slow), cancel));
  announce(said.sending);
  const timer = setTimeout(() => {
    slow.textContent = "Still at work. The service is busy or the connection slow.";
    announce(slow.textContent);
  }, SLOW_MS);
  button.disabled = true;
  cancel.focus();
  try {
    return await work({ signal: controller.signal, onSent });
  } finally {
    clearTimeout(timer);
    const hadFocus = place.contains(document.activeElement);
    place.replaceChildren();
    button.disabled = false;
    if (hadFocus) button.focus();
  }
}
