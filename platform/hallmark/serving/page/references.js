// Browse: products, and their references as thumbnails, which an enrol key may retire.

import { announce, find, focusOn, make } from "./elements.js";
import { confirmed } from "./confirm.js";
import { clearProblem, showProblem } from "./notice.js";
import { may } from "./permit.js";
import { send } from "./service.js";
import { referencePicture } from "./thumbnails.js";
import { count, day, moment } from "./wording.js";
import { chip } from "./verdict.js";

const PAGE = 48;

/** The view. @param {() => void} onChanged told when a reference was retired */
export function startReferences(onChanged) {
  const place = find("references-problem");
  const filters = { product: find("filter-product"), part: find("filter-part"), authenticity: find("filter-authenticity") };
  let after = null;
  let asked = 0;

  async function list(more, takesFocus) {
    const mine = (asked += 1);
    clearProblem(place);
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, { value }] of Object.entries(filters)) if (value) query.set(name, value);
    if (more && after) query.set("after", after);
    find("reference-list").setAttribute("aria-busy", "true");
    try {
      const answer = await send("GET", `v1/references?${query}`);
      // Filters may have changed while this was on its way.
      if (mine !== asked) return;
      draw(answer, more);
    } catch (error) {
      if (mine === asked) showProblem(place, error, () => list(more, true), takesFocus);
    } finally {
      if (mine === asked) find("reference-list").removeAttribute("aria-busy");
    }
  }

  function draw(answer, more) {
    const cards = answer.references.map((one) => referenceCard(one, retire));
    const shown = find("reference-list");
    if (more) shown.append(...cards);
    else shown.replaceChildren(...cards);
    after = answer.after;
    find("references-more").hidden = !after;
    const none = !shown.childElementCount;
    find("references-none").hidden = !none;
    find("references-none").textContent = isFiltered(filters) ? "No reference fits these filters." : "No references have been enrolled yet.";
    announce(`${count(shown.childElementCount, "reference")} shown${after ? ", there are more" : ""}.`);
    if (more && cards.length) focusOn(cards[0]);
  }

  async function retire(reference, card) {
    const yes = await confirmed({
      title: "Retire this reference?",
      text: `Queries are no longer compared with it. An earlier gallery version still has it.`,
      action: "Retire",
      picture: referencePicture(reference.reference_id, `Reference of ${reference.product}, ${reference.part}`),
    });
    if (!yes) return;
    clearProblem(place);
    try {
      const answer = await send("DELETE", `v1/references/${encodeURIComponent(reference.reference_id)}`);
      const next = card.nextElementSibling ?? card.previousElementSibling;
      card.remove();
      announce(`Retired. Gallery version ${answer.gallery_version}.`);
      focusOn(next?.querySelector("button") ?? find("listing-title"));
      onChanged();
    } catch (error) {
      showProblem(place, error, () => retire(reference, card));
    }
  }

  for (const select of Object.values(filters)) {
    select.addEventListener("change", () => {
      if (select === filters.product) fillParts(filters, known);
      list(false, false);
    });
  }
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("references-more").addEventListener("click", () => list(true, true));
  let known = [];
  const choose = (product, part) => {
    filters.product.value = product;
    fillParts(filters, known);
    filters.part.value = part;
    list(false, false);
    focusOn(find("listing-title"));
  };
  return {
    open: () => list(false, false),
    fillProducts(products) {
      known = products;
      fillFilter(filters.product, [...new Set(products.map((one) => one.product))], "All");
      fillParts(filters, products);
      drawProducts(products, choose);
    },
  };
}

const isFiltered = (filters) => Object.values(filters).some((select) => select.value);

function fillFilter(select, values, all) {
  const chosen = select.value;
  select.replaceChildren(make("option", { value: "" }, all), ...values.map((value) => make("option", { value }, value)));
  select.value = values.includes(chosen) ? chosen : "";
}

function fillParts(filters, products) {
  const product = filters.product.value;
  const parts = products.filter((one) => !product || one.product === product).map((one) => one.part);
  fillFilter(filters.part, [...new Set(parts)], "All");
}

function drawProducts(products, choose) {
  const total = products.reduce((sum, one) => sum + one.genuine + one.counterfeit, 0);
  const names = new Set(products.map((one) => one.product)).size;
  find("references-lead").textContent = products.length
    ? `${count(total, "reference")} of ${count(names, "product")}, which queries are compared with.`
    : "Queries are compared with references. None are enrolled yet.";
  find("products-title").hidden = !products.length;
  find("products").replaceChildren(
    ...products.map((one) =>
      make(
        "li",
        {},
        make(
          "button.product",
          { type: "button", on: { click: () => choose(one.product, one.part) } },
          make("span.product-name", {}, one.product),
          make("span.hint", {}, one.part),
          make("span.counts", {}, make("span", {}, make("strong", {}, one.genuine.toLocaleString("en")), " genuine"), make("span", {}, make("strong", {}, one.counterfeit.toLocaleString("en")), " counterfeit")),
        ),
      ),
    ),
  );
}

function referenceCard(reference, retire) {
  const said = `${reference.product}, ${reference.part}${reference.item_id ? `, item ${reference.item_id}` : ""}`;
  const card = make(
    "li.reference",
    { tabIndex: -1 },
    referencePicture(reference.reference_id, said),
    make(
      "div.reference-facts",
      {},
      chip(reference.authenticity),
      make("p.product-name", {}, reference.product),
      make("p.hint", {}, [reference.part, reference.item_id && `item ${reference.item_id}`].filter(Boolean).join(" · ")),
      make("p.hint", {}, "Enrolled ", make("time", { dateTime: reference.enrolled_at, title: moment(reference.enrolled_at) }, day(reference.enrolled_at))),
    ),
  );
  if (may("enrol")) {
    card.append(make("button", { type: "button", aria: { label: `Retire ${said}` }, on: { click: () => retire(reference, card) } }, "Retire"));
  }
  return card;
}
