// Gallery versions, newest first, and going back to one of them.

import { announce, find, focusOn, make } from "./elements.js";
import { confirmed } from "./confirm.js";
import { clearProblem, showProblem } from "./notice.js";
import { may } from "./permit.js";
import { send } from "./service.js";
import { count, moment } from "./wording.js";

/** The view. @param {() => void} onChanged told when the gallery was rolled back */
export function startVersions(onChanged) {
  const place = find("versions-problem");

  async function list(takesFocus = false) {
    clearProblem(place);
    try {
      draw(await send("GET", "v1/gallery/versions"));
      return true;
    } catch (error) {
      showProblem(place, error, () => list(true), takesFocus);
      return false;
    }
  }

  function draw({ current, versions }) {
    const mayRollBack = may("admin");
    find("versions-card").hidden = !versions.length;
    find("versions-none").hidden = versions.length > 0;
    for (const one of document.querySelectorAll(".admin-only")) one.hidden = !mayRollBack;
    find("versions-rows").replaceChildren(...versions.map((one) => row(one, one.version === current, mayRollBack, back)));
  }

  async function back(version) {
    const yes = await confirmed({
      title: `Roll back to version ${version.version}?`,
      text: `Queries are then compared with its ${count(version.num_references, "reference")}. This makes a new version, so it can be undone.`,
      action: "Roll back",
    });
    if (!yes) return;
    clearProblem(place);
    try {
      const answer = await send("POST", `v1/gallery/versions/${version.version}/rollback`);
      await list();
      announce(`Rolled back. Version ${answer.gallery_version} has the content of version ${answer.restored}.`);
      focusOn(find("versions-title"));
      onChanged();
    } catch (error) {
      showProblem(place, error, () => back(version));
    }
  }
  return { open: () => list() };
}

const CHANGES = { created: "Created", enrolled: "Enrolled", retired: "Retired", rolled_back: "Rolled back" };

function row(version, isCurrent, mayRollBack, back) {
  const said = CHANGES[version.change] ?? version.change.replaceAll("_", " ");
  const button = make("button", { type: "button", aria: { label: `Roll back to version ${version.version}` }, on: { click: () => back(version) } }, "Roll back");
  return make(
    `tr${isCurrent ? ".current" : ""}`,
    {},
    make("th", { scope: "row" }, version.version, isCurrent && make("span.tag", {}, "in use")),
    make("td", {}, make("span.change", {}, said), make("time.hint", { dateTime: version.at }, moment(version.at))),
    make("td.number", {}, version.num_references.toLocaleString("en")),
    mayRollBack && make("td.row-action", {}, isCurrent ? null : button),
  );
}
