// Asking before something is changed that others depend on.

import { find } from "./elements.js";

/**
 * Ask; Escape and Cancel mean no.
 * @param {{title: string, text: string, action: string, picture?: Node}} said
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, action, picture = null }) {
  const dialog = find("confirm");
  find("confirm-title").textContent = title;
  find("confirm-text").textContent = text;
  find("confirm-yes").textContent = action;
  find("confirm-picture").replaceChildren(...(picture ? [picture] : []));
  return new Promise((resolve) => {
    let answer = false;
    const close = (yes) => () => {
      answer = yes;
      dialog.close();
    };
    find("confirm-yes").onclick = close(true);
    find("confirm-no").onclick = close(false);
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
    // The harmless answer is the one under the finger.
    find("confirm-no").focus();
  });
}
