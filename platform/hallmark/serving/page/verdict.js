// A verdict on the page: of one photograph, or of an item with a tab for each of its photographs.

import { attentionView } from "./attention.js";
import { freshId, icon, make } from "./elements.js";
import { matchedCues, nearest, residualMap } from "./evidence.js";
import { detail } from "./permit.js";
import { picture } from "./photographs.js";
import { decisionName, decisionScale, probability, qualityFacts, scoreTable } from "./scores.js";
import { LABELS, MEANINGS, advice, count, isNumber, percent, signed } from "./wording.js";

/**
 * The verdict about one photograph.
 * @param {object} verdict as the service answered
 * @param {string} url of the photograph
 * @param {string} askedProduct "" where it was left open
 * @param {Node} actions buttons below the verdict
 */
export function oneVerdict(verdict, url, askedProduct, actions) {
  return make("div.answer", {}, banner(verdict, actions), body(verdict, url, askedProduct));
}

/**
 * The verdict about an item.
 * @param {{item: object, photographs: object[]}} answer
 * @param {string[]} urls of the photographs, in order
 */
export function itemVerdict(answer, urls, askedProduct, actions) {
  const { item, photographs } = answer;
  return make(
    "div.answer",
    {},
    banner(item, actions, count(photographs.length, "photograph")),
    doing(item, ""),
    partsCard(item, photographs, urls),
    asideCard(item, photographs, urls),
    photographTabs(photographs, urls, askedProduct),
  );
}

/** The answer itself, large: icon, word, colour, reason, probability, scale. The heading takes the focus. */
function banner(answer, actions, said = "") {
  const label = answer.verdict;
  const shows = [answer.product, answer.part, said].filter(Boolean).join(" · ");
  const scale =
    "log_likelihood_ratio" in answer
      ? decisionScale("Log-likelihood ratio", answer.log_likelihood_ratio, answer.threshold_counterfeit, answer.threshold_genuine)
      : decisionScale(decisionName(answer.scores), answer.scores?.decision, answer.scores?.threshold_counterfeit, answer.scores?.threshold_genuine);
  const measures = label === "not_in_gallery" ? [] : [probability(answer.p_genuine), scale].filter(Boolean);
  return make(
    `section.card.banner.${label}`,
    { aria: { label: "Verdict" } },
    make(
      "div.banner-head",
      {},
      icon(label, "verdict-icon"),
      make("div", {}, make("h2.verdict-word", { tabIndex: -1, data: { takes: "focus" } }, LABELS[label] ?? label), shows && make("p.shows", {}, shows)),
    ),
    make("p.meaning", {}, MEANINGS[label]),
    make("p.reason", {}, answer.reason),
    measures.length > 0 && make("div.measures", {}, measures),
    actions,
  );
}

/** Everything below the banner of one photograph. */
function body(verdict, url, askedProduct) {
  return [
    doing(verdict, askedProduct),
    cuesCard(verdict, url),
    residualCard(verdict, url),
    attentionCard(verdict, url),
    photographCard(verdict, url),
    nearestCard(verdict),
    scoresCard(verdict),
    withheld(),
    idsCard(verdict),
  ];
}

function card(title, ...content) {
  const id = freshId("card");
  return make("section.card", { aria: { labelledby: id } }, make("h3", { id }, title), content);
}

function doing(answer, askedProduct) {
  const todo = advice(answer, askedProduct);
  if (!todo.length) return null;
  return make(
    "section.card.advice",
    { aria: { label: "What to do" } },
    icon("advice"),
    make("div", {}, make("h3", {}, "What to do"), make("ul", {}, todo.map(({ title, text }) => make("li", {}, make("strong", {}, /[?!]$/.test(title) ? title : `${title}.`), ` ${text}`)))),
  );
}

function cuesCard(verdict, url) {
  const [first] = verdict.references ?? [];
  if (!first || verdict.verdict === "not_in_gallery") return null;
  const pairs = verdict.cue_pairs ?? [];
  if (!pairs.length && !matchedAny(verdict)) return null;
  const said = pairs.length
    ? "The same number marks the same detail on both. Point at a number, or choose one below."
    : "No cue of the query matches the nearest reference.";
  return card("Matched cues", make("p.hint", {}, said), matchedCues(url, first, pairs));
}

/** Whether cues were compared at all; a bundle that classifies has none. */
const matchedAny = ({ scores }) => isNumber(scores?.match_genuine) || isNumber(scores?.match_counterfeit);

function residualCard(verdict, url) {
  return verdict.residual_map ? card("Where it differs", residualMap(url, verdict.residual_map, typeof verdict.scores?.surface_agreement_z === "number")) : null;
}

function attentionCard(verdict, url) {
  return verdict.attention && url ? card("Where it looked", attentionView(url, verdict.attention, verdict.quality)) : null;
}

function photographCard(verdict, url) {
  // With a map beside it the photograph need not be shown again.
  const shown = !verdict.residual_map && !verdict.attention && url ? make("div.lightbox.small", {}, picture(url, "The photograph asked about")) : null;
  return card("Photograph", make("div.photograph", {}, shown, qualityFacts(verdict.quality)));
}

function nearestCard(verdict) {
  const references = verdict.references ?? [];
  if (!references.length) return null;
  const of = (authenticity) => references.filter((one) => one.authenticity === authenticity).slice(0, 5);
  const note = verdict.verdict === "not_in_gallery" ? make("p.hint", {}, "The nearest there are, and not near enough.") : null;
  return card("Nearest references", note, make("div.two", {}, nearest(of("genuine"), "genuine", matchedAny(verdict)), nearest(of("counterfeit"), "counterfeit", matchedAny(verdict))));
}

function scoresCard(verdict) {
  const table = scoreTable(verdict.scores);
  return table && card("Scores and thresholds", make("p.hint", {}, "Higher is more genuine."), table);
}

function withheld() {
  const kept = { scores: "scores, without matched cues, maps and references", label: "the verdict, without scores and evidence" }[detail()];
  return kept ? make("p.withheld", {}, `This key is shown ${kept}.`) : null;
}

const IDS = [
  ["Request", "request_id"],
  ["Photograph, SHA-256", "image_id"],
  ["Bundle", "bundle_id"],
  ["Gallery version", "gallery_version"],
  ["Configuration", "config_hash"],
];

function idsCard(verdict) {
  const told = IDS.filter(([, name]) => verdict[name] !== null && verdict[name] !== undefined);
  const times = Object.entries(verdict.timings_ms ?? {}).map(([stage, ms]) => `${stage} ${Math.round(ms)} ms`);
  return make(
    "details.card",
    {},
    make("summary", {}, "What it was made from"),
    make("p.hint", {}, "With these, anyone who holds bundle, gallery and photograph can compute the verdict again."),
    make(
      "dl.ids",
      {},
      told.map(([said, name]) => make("div", {}, make("dt", {}, said), make("dd", {}, make("code", {}, name === "gallery_version" && verdict[name] === 0 ? "none" : String(verdict[name]))))),
      times.length > 0 && make("div", {}, make("dt", {}, "Time"), make("dd", {}, times.join(", "))),
    ),
  );
}

/** Numbers (from 1) of the photographs with an image id. */
const numbersOf = (photographs, ids) => photographs.map((one, place) => (ids.includes(one.image_id) ? place + 1 : 0)).filter(Boolean);

function partsCard(item, photographs, urls) {
  if (!item.parts?.length) return null;
  const withRatio = item.parts.some((part) => typeof part.log_likelihood_ratio === "number");
  const row = (part) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, make("span.part-name", {}, part.part || "whole"), numbersOf(photographs, part.image_ids).map((place) => small(urls[place - 1], place))),
      withRatio && make("td.number", {}, signed(part.log_likelihood_ratio, 2)),
      make("td.number", {}, percent(part.p_genuine)),
    );
  const table = make(
    "table.parts",
    {},
    make("caption.unseen", {}, "What each part says by itself"),
    make(
      "thead",
      {},
      make("tr", {}, make("th", { scope: "col" }, "Part"), withRatio && make("th.number", { scope: "col" }, "Log-like\u00adlihood ratio"), make("th.number", { scope: "col" }, "Genuine")),
    ),
    make("tbody", {}, item.parts.map(row)),
  );
  return card("Parts", table);
}

function asideCard(item, photographs, urls) {
  if (!item.set_aside?.length) return null;
  const row = (one) => {
    const [place] = numbersOf(photographs, [one.image_id]);
    return make(
      "li",
      {},
      place ? small(urls[place - 1], place) : null,
      make("div", {}, chip(one.verdict), make("p", {}, one.reason)),
    );
  };
  return card("Set aside", make("p.hint", {}, "These photographs do not count."), make("ul.aside", {}, item.set_aside.map(row)));
}

function small(url, place) {
  return make("span.small-picture", {}, url ? picture(url, `Photograph ${place}`) : null, make("span.small-number", { aria: { hidden: "true" } }, place));
}

/** A verdict as a small label. */
export const chip = (label) => make(`span.chip.${label}`, {}, icon(label), LABELS[label] ?? label);

/** A tab for each photograph; arrow keys move between them. */
function photographTabs(photographs, urls, askedProduct) {
  const prefix = freshId("photograph");
  const panel = make("div.tab-panel", { role: "tabpanel", id: `${prefix}-panel`, tabIndex: 0 });
  const tabs = photographs.map((verdict, place) =>
    make(
      "button.tab",
      { type: "button", role: "tab", id: `${prefix}-${place}`, aria: { controls: panel.id }, on: { click: () => choose(place) } },
      small(urls[place], place + 1),
      make("span", {}, make("span.tab-part", {}, verdict.part ?? `Photograph ${place + 1}`), make("span.tab-verdict", {}, icon(verdict.verdict, verdict.verdict), LABELS[verdict.verdict])),
    ),
  );
  function choose(place) {
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === place));
      tab.tabIndex = index === place ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", tabs[place].id);
    panel.replaceChildren(partBanner(photographs[place]), ...body(photographs[place], urls[place], askedProduct).filter(Boolean));
  }
  const strip = make("div.tabs", { role: "tablist", aria: { label: "Photographs" } }, tabs);
  strip.addEventListener("keydown", (event) => {
    const now = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined || now < 0) return;
    event.preventDefault();
    const place = (to + tabs.length) % tabs.length;
    choose(place);
    tabs[place].focus();
  });
  choose(0);
  return make("section", { aria: { label: "Photographs" } }, make("h3.tabs-title", {}, "Photograph by photograph"), strip, panel);
}

function partBanner(verdict) {
  return make(
    `div.card.part-banner.${verdict.verdict}`,
    {},
    chip(verdict.verdict),
    make("p.reason", {}, verdict.reason),
    make("div.measures", {}, probability(verdict.p_genuine), decisionScale(decisionName(verdict.scores), verdict.scores?.decision, verdict.scores?.threshold_counterfeit, verdict.scores?.threshold_genuine)),
  );
}
