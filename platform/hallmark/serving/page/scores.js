// Numbers of a verdict: probability, the scale the decision was made on, and the table of scores by stage.

import { make } from "./elements.js";
import { LABELS, isNumber, number, percent, signed } from "./wording.js";

/** p_genuine as a bar with its words; a sentence where there is none. */
export function probability(p) {
  if (!isNumber(p)) return null;
  const fill = make("span.bar-fill");
  fill.style.width = `${100 * p}%`;
  return make(
    "div.probability",
    {},
    make("p.measure", {}, make("span", {}, "Probability of genuine"), make("strong", {}, percent(p))),
    make("div.bar", { aria: { hidden: "true" } }, fill),
  );
}

/**
 * Where a score lies among its thresholds.
 * @param {string} name of the score
 * @param {number|null} score
 * @param {number|null} low below it: counterfeit
 * @param {number|null} high at or above it: genuine
 */
export function decisionScale(name, score, low, high) {
  if (![score, low, high].every(isNumber)) return null;
  const spread = Math.max(high - low, Math.abs(score - high), Math.abs(score - low), 1e-6);
  const left = Math.min(score, low) - 0.3 * spread;
  const right = Math.max(score, high) + 0.3 * spread;
  const share = (value) => (100 * (value - left)) / (right - left);
  const zones = [["counterfeit", left, low], ["inconclusive", low, high], ["genuine", high, right]];
  const drawn = zones.map(([label, from, to]) => {
    const zone = make(`span.zone.${label}`);
    zone.style.width = `${share(to) - share(from)}%`;
    return zone;
  });
  const marker = make("span.marker");
  marker.style.left = `${share(score)}%`;
  const between = high > low ? `, between them ${LABELS.inconclusive.toLowerCase()}` : "";
  return make(
    "div.decision",
    {},
    make("p.measure", {}, make("span", {}, name), make("strong", {}, signed(score))),
    make("div.zones", { aria: { hidden: "true" } }, drawn, marker),
    make("p.hint", {}, `Counterfeit below ${signed(low)}${between}, genuine from ${signed(high)}.`),
  );
}

/** What the score is called that a verdict rests on: a bundle that classifies decides by its log odds alone. */
export function decisionName(scores) {
  const classifies = isNumber(scores?.decision) && scores.decision === scores.classifier_logit;
  return classifies ? "Classifier, log odds of genuine" : "Decision score";
}

const ROWS = [
  ["Retrieval", "global_similarity", "Nearest reference of the product", "threshold_global"],
  ["Retrieval", "global_genuine", "Nearest genuine reference"],
  ["Retrieval", "global_counterfeit", "Nearest counterfeit reference"],
  ["Matching", "match_genuine", "Cues matched with a genuine reference"],
  ["Matching", "match_counterfeit", "Cues matched with a counterfeit reference"],
  ["Geometry", "inlier_ratio", "Cues that match under one geometry", "threshold_inliers"],
  ["Cues", "cue_agreement", "Agreement of the worst cues"],
  ["Cues", "cue_agreement_z", "The same, in standard deviations"],
  ["Cues", "cue_agreement_counterfeit", "The same with counterfeit references"],
  ["Surface", "surface_agreement", "Agreement of the surface"],
  ["Surface", "surface_agreement_z", "Its worst places, in standard deviations"],
  ["Surface", "surface_margin", "Nearer to genuine than to a counterfeit"],
  ["Classifier", "classifier_logit", "Log odds of genuine"],
];

/** The table of scores by stage against their thresholds; null where the key is shown none. */
export function scoreTable(scores) {
  if (!scores) return null;
  const told = ROWS.filter(([, name]) => isNumber(scores[name]));
  if (!told.length && !isNumber(scores.decision)) return null;
  const bodies = [...new Set(told.map(([stage]) => stage))].map((stage) =>
    make(
      "tbody",
      {},
      make("tr", {}, make("th.stage", { scope: "rowgroup", colSpan: 3 }, stage)),
      told.filter((row) => row[0] === stage).map((row) => scoreRow(scores, row)),
    ),
  );
  return make(
    "table.scores",
    {},
    make("caption.unseen", {}, "Scores by stage against their thresholds; higher is more genuine"),
    make(
      "thead",
      {},
      make("tr", {}, make("th", { scope: "col" }, "Score"), make("th.number", { scope: "col" }, "Value"), make("th", { scope: "col" }, "Threshold")),
    ),
    bodies,
    isNumber(scores.decision) && decisionRows(scores),
  );
}

function scoreRow(scores, [, name, said, threshold]) {
  const bound = threshold ? scores[threshold] : null;
  const passed = isNumber(bound) ? scores[name] >= bound : null;
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, said, " ", make("code", {}, name)),
    make("td.number", {}, number(scores[name])),
    make("td", {}, passed === null ? noThreshold() : `${passed ? "✓" : "✗"} ${passed ? "at least" : "below"} ${number(bound)}`),
  );
}

const noThreshold = () => [make("span", { aria: { hidden: "true" } }, "–"), make("span.unseen", {}, "none")];

function decisionRows(scores) {
  const { decision, threshold_genuine: high, threshold_counterfeit: low } = scores;
  let said = `between ${signed(low)} and ${signed(high)}`;
  if (decision >= high) said = `✓ genuine from ${signed(high)}`;
  else if (decision < low) said = `✗ counterfeit below ${signed(low)}`;
  return make(
    "tbody",
    {},
    make("tr", {}, make("th.stage", { scope: "rowgroup", colSpan: 3 }, "Decision")),
    make(
      "tr",
      {},
      make("th", { scope: "row" }, decisionName(scores), " ", make("code", {}, "decision")),
      make("td.number", {}, signed(decision)),
      make("td", {}, said),
    ),
  );
}

/** What the photograph is like. */
export function qualityFacts(quality) {
  if (!quality) return null;
  const facts = [
    ["Size", `${quality.width} × ${quality.height} px`],
    ["Sharpness", isNumber(quality.sharpness) ? quality.sharpness.toPrecision(2) : "–"],
    ["Brightness", percent(quality.brightness)],
    ["Black or white", percent(quality.clipped)],
  ];
  return make("dl.facts", {}, facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
