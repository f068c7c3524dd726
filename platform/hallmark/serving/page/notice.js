// A problem, shown where it happened: what went wrong, what to do, and a way to do it.

import { announce, focusOn, freshId, icon, make } from "./elements.js";
import { Problem, hasKey } from "./service.js";
import { problemInWords, wait } from "./wording.js";

const LONG_WAIT_S = 600;
const timers = new WeakMap();

export function clearProblem(place) {
  clearInterval(timers.get(place));
  place.replaceChildren();
}

/**
 * Show a problem and move focus to it; one that the user caused by cancelling is only announced.
 * @param {HTMLElement} place
 * @param {Error} error
 * @param {(() => void)|null} retry offered where trying again may help
 * @param {boolean} takesFocus false where the user did not just act
 */
export function showProblem(place, error, retry = null, takesFocus = true) {
  clearProblem(place);
  if (error instanceof Problem && error.kind === "cancelled") {
    announce("Cancelled.");
    return;
  }
  // A slip of the page's own must not look like the service's.
  const problem = error instanceof Problem ? error : new Problem("answer", { title: "The page failed", detail: String(error) });
  const said = problemInWords(problem, hasKey());
  const title = freshId("problem");
  const heading = make("h3", { id: title, tabIndex: -1 }, said.title);
  const again = retry && said.again ? make("button", { type: "button", on: { click: retry } }, "Try again") : null;
  const panel = make(
    "section.problem",
    { aria: { labelledby: title } },
    icon("alert"),
    make(
      "div",
      {},
      heading,
      said.detail && make("p.words", {}, said.detail),
      said.hint && make("p", {}, said.hint),
      make(
        "div.actions",
        {},
        said.needsKey && make("button.primary", { type: "button", data: { opens: "key" } }, hasKey() ? "Change the key" : "Enter a key"),
        again,
      ),
      problem.instance && make("p.hint", {}, "Request ", make("code", {}, problem.instance)),
    ),
  );
  place.append(panel);
  announce(`${said.title}. ${said.wait ? `Try again in ${wait(said.wait)}.` : ""}`);
  if (said.wait !== null) countDown(place, panel, again, said.wait);
  if (takesFocus) focusOn(heading);
}

/** Keeps the button shut until the wait is over, and says how long that is. */
function countDown(place, panel, button, seconds) {
  const left = make("p", {});
  panel.querySelector(".actions").before(left);
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    const remaining = Math.ceil((end - Date.now()) / 1000);
    if (remaining <= 0) {
      clearInterval(timers.get(place));
      left.textContent = "You can try again now.";
      if (button) button.disabled = false;
      return;
    }
    left.textContent = `Wait ${wait(remaining)}, then try again.`;
  };
  // After a long wait, such as until tomorrow's quota, let people try: the quota may have been raised.
  if (button && seconds <= LONG_WAIT_S) button.disabled = true;
  tick();
  timers.set(place, setInterval(tick, 1000));
}
