// Evidence as pictures: matched cues between two photographs, and the residual map laid over one.
// Points and cells are fractions of the whole photograph, x to the right, y downwards.

import { icon, make, freshId } from "./elements.js";
import { picture } from "./photographs.js";
import { referencePicture } from "./thumbnails.js";
import { LABELS, number, percent } from "./wording.js";

const MARK_PX = 10;
const SMALL_MARK_PX = 7;
const SMALL_PICTURE_PX = 240;
const WIDEST = 1.8;
const TALLEST = 0.65;
// Where nothing differs, the photograph shows through.
const LEAST_COVER = 0.25;
// Some cell of a genuine item is always so many standard deviations off; a map of such must not glow.
const USUAL_DEVIATIONS = 4;
const HEAT = [
  [0, 0, 4],
  [66, 10, 104],
  [147, 38, 103],
  [221, 81, 58],
  [252, 165, 10],
  [252, 255, 164],
];

/**
 * Query and nearest reference side by side, matched cues numbered on both.
 * @param {string} url of the query
 * @param {object} reference the first of the verdict's references
 * @param {object[]} pairs
 */
export function matchedCues(url, reference, pairs) {
  const state = { pairs, chosen: null, pinned: null };
  const query = make("figure", {}, make("div.lightbox", {}, picture(url, "The photograph asked about")), make("figcaption", {}, "Query"));
  const said = `Nearest reference, ${LABELS[reference.authenticity] ?? reference.authenticity}`;
  const shown = referencePicture(reference.reference_id, said);
  const other = make("figure", {}, make("div.lightbox", {}, shown), make("figcaption", {}, said));
  const canvas = make("canvas", { aria: { hidden: "true" } });
  const stage = make("div.pair", {}, query, other, canvas);
  const draw = () => drawPairs(stage, canvas, [query, other], state);
  const chips = pairs.map((pair, place) => chip(pair, place, state, draw));
  const list = make("ol.cues", { aria: { label: "Matched cues, most similar first" } }, chips.map((one) => make("li", {}, one)));
  state.chips = chips;
  listenForPointer(stage, [query, other], state, draw);
  new ResizeObserver(draw).observe(stage);
  query.querySelector("img").addEventListener("load", ({ target }) => {
    const ratio = Math.min(WIDEST, Math.max(TALLEST, target.naturalWidth / target.naturalHeight));
    stage.style.setProperty("--ratio", String(ratio));
    draw();
  });
  shown.addEventListener("settled", () => {
    shown.querySelector("img")?.addEventListener("load", draw);
    draw();
  });
  return make("div", {}, stage, pairs.length ? list : null);
}

function chip(pair, place, state, draw) {
  const where = ([x, y]) => `${percent(x)} across, ${percent(y)} down`;
  const label = `Cue ${place + 1}, similarity ${number(pair.similarity, 2)}. Query: ${where(pair.query)}. Reference: ${where(pair.reference)}.`;
  const show = (chosen) => () => {
    state.chosen = chosen;
    draw();
  };
  const pin = () => {
    state.pinned = state.pinned === place ? null : place;
    draw();
  };
  return make(
    "button.cue",
    {
      type: "button",
      aria: { label, pressed: "false" },
      on: { mouseenter: show(place), mouseleave: show(null), focus: show(place), blur: show(null), click: pin },
    },
    make("span.cue-number", {}, place + 1),
    make("span", {}, number(pair.similarity, 2)),
  );
}

/** Where the picture in a figure lies within the stage, px; null until it has been loaded. */
function placeOf(stage, figure) {
  const image = figure.querySelector("img");
  if (!image || !image.complete || !image.naturalWidth) return null;
  const outer = stage.getBoundingClientRect();
  const box = image.getBoundingClientRect();
  // The whole picture is shown in the middle of its box, as large as fits.
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  const x = box.left - outer.left + (box.width - width) / 2;
  return { x, y: box.top - outer.top + (box.height - height) / 2, width, height };
}

const pointOf = (place, [x, y]) => [place.x + x * place.width, place.y + y * place.height];

function drawPairs(stage, canvas, figures, state) {
  const brush = sized(canvas, stage.clientWidth, stage.clientHeight);
  const chosen = state.chosen ?? state.pinned;
  state.chips.forEach((one, place) => {
    one.classList.toggle("chosen", place === chosen);
    one.setAttribute("aria-pressed", String(place === state.pinned));
  });
  const [left, right] = figures.map((figure) => placeOf(stage, figure));
  const size = Math.min(left?.width ?? Infinity, right?.width ?? Infinity) < SMALL_PICTURE_PX ? SMALL_MARK_PX : MARK_PX;
  const order = state.pairs.map((_, place) => place).filter((place) => place !== chosen).reverse();
  if (chosen !== null) order.push(chosen);
  for (const place of order) {
    const pair = state.pairs[place];
    const ends = [left && pointOf(left, pair.query), right && pointOf(right, pair.reference)];
    const isChosen = place === chosen;
    if (isChosen && ends[0] && ends[1]) line(brush, ...ends);
    for (const end of ends) if (end) mark(brush, end, String(place + 1), size, isChosen, chosen !== null && !isChosen);
  }
}

function line(brush, from, to) {
  for (const [width, colour] of [[5, "#101418"], [2.5, "#ffd34d"]]) {
    brush.lineWidth = width;
    brush.strokeStyle = colour;
    brush.beginPath();
    brush.moveTo(...from);
    brush.lineTo(...to);
    brush.stroke();
  }
}

function mark(brush, [x, y], text, size, isChosen, isFaint) {
  const radius = isChosen ? 1.35 * size : size;
  brush.globalAlpha = isFaint ? 0.35 : 1;
  brush.beginPath();
  brush.arc(x, y, radius, 0, 2 * Math.PI);
  brush.fillStyle = isChosen ? "#ffd34d" : "rgba(16, 20, 24, 0.82)";
  brush.fill();
  brush.lineWidth = 1.5;
  brush.strokeStyle = isChosen ? "#101418" : "#ffffff";
  brush.stroke();
  brush.fillStyle = isChosen ? "#101418" : "#ffffff";
  brush.font = `600 ${Math.round(1.15 * radius)}px system-ui, sans-serif`;
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.fillText(text, x, y + 0.5);
  brush.globalAlpha = 1;
}

/** The pair under the pointer is the chosen one. */
function listenForPointer(stage, figures, state, draw) {
  stage.addEventListener("pointermove", (event) => {
    const outer = stage.getBoundingClientRect();
    const places = figures.map((figure) => placeOf(stage, figure));
    let nearest = null;
    let least = 2 * MARK_PX;
    state.pairs.forEach((pair, index) => {
      [pair.query, pair.reference].forEach((point, side) => {
        if (!places[side]) return;
        const [x, y] = pointOf(places[side], point);
        const apart = Math.hypot(event.clientX - outer.left - x, event.clientY - outer.top - y);
        if (apart < least) [nearest, least] = [index, apart];
      });
    });
    if (nearest === state.chosen) return;
    state.chosen = nearest;
    draw();
  });
  stage.addEventListener("pointerleave", () => {
    state.chosen = null;
    draw();
  });
}

/** A canvas as sharp as the screen, cleared. */
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const brush = canvas.getContext("2d");
  brush.scale(ratio, ratio);
  brush.clearRect(0, 0, width, height);
  return brush;
}

/**
 * The residual map over the photograph, with a slider for how strongly it covers.
 * @param {string} url of the query
 * @param {{rows: number, columns: number, values: number[]}} map
 * @param {boolean} inDeviations whether its values are standard deviations of genuine items
 */
export function residualMap(url, map, inDeviations) {
  const most = map.values.reduce((high, value) => Math.max(high, value), 0);
  const top = inDeviations ? Math.max(most, USUAL_DEVIATIONS) : most;
  const canvas = heatMap(map, top);
  const shown = make("div.lightbox", {}, make("div.overlaid", {}, picture(url, "The photograph asked about"), canvas));
  return make(
    "div.residual",
    {},
    shown,
    make(
      "div.residual-side",
      {},
      make("p", {}, sentence(map, most, inDeviations)),
      heatSlider(canvas, "Map over photograph", 80),
      make("div.scale", { aria: { hidden: "true" } }, make("span", {}, "0"), legend(), make("span", {}, number(top, inDeviations ? 0 : 2))),
      make("p.hint", {}, inDeviations ? "In standard deviations of genuine items." : "As plain differences: too few genuine items are enrolled to know what is usual."),
    ),
  );
}

function sentence(map, most, inDeviations) {
  if (most <= 0) return "No difference from the genuine references where they could be compared.";
  const place = map.values.indexOf(most);
  const across = percent(((place % map.columns) + 0.5) / map.columns);
  const down = percent((Math.floor(place / map.columns) + 0.5) / map.rows);
  return `Bright is where it differs from the genuine references. Greatest: ${number(most, inDeviations ? 1 : 2)}, at ${across} across and ${down} down.`;
}

/** A slider for how strongly a map covers its photograph, in percent. */
export function heatSlider(canvas, said, percentage) {
  const slider = freshId("opacity");
  const output = make("output", { htmlFor: slider });
  const range = make("input", { id: slider, type: "range", min: "0", max: "100", step: "5", value: String(percentage) });
  const cover = () => {
    canvas.style.opacity = range.value / 100;
    output.textContent = `${range.value} %`;
    range.setAttribute("aria-valuetext", `${range.value} percent`);
  };
  range.addEventListener("input", cover);
  cover();
  return make("div.slider", {}, make("label", { htmlFor: slider }, said), range, output);
}

/**
 * A grid as heat, a px a cell, to be laid over a photograph.
 * @param {{rows: number, columns: number, values: number[]}} map
 * @param {number} top the value that is hottest
 */
export function heatMap(map, top) {
  const canvas = make("canvas.heat", { aria: { hidden: "true" } });
  canvas.width = map.columns;
  canvas.height = map.rows;
  const brush = canvas.getContext("2d");
  const pixels = brush.createImageData(map.columns, map.rows);
  const share = (value) => (top > 0 ? value / top : 0);
  map.values.forEach((value, place) => pixels.data.set([...heat(share(value)), Math.round(255 * (LEAST_COVER + (1 - LEAST_COVER) * share(value)))], 4 * place));
  brush.putImageData(pixels, 0, 0);
  return canvas;
}

/** Dark to bright in even steps of lightness, so that it also reads without colour; (r, g, b) of a share 0..1. */
function heat(share) {
  const along = Math.min(1, Math.max(0, share)) * (HEAT.length - 1);
  const below = Math.min(Math.floor(along), HEAT.length - 2);
  return HEAT[below].map((from, channel) => Math.round(from + (along - below) * (HEAT[below + 1][channel] - from)));
}

function legend() {
  const canvas = make("canvas", { width: 64, height: 1 });
  const brush = canvas.getContext("2d");
  for (let step = 0; step < 64; step += 1) {
    brush.fillStyle = `rgb(${heat(step / 63).join()})`;
    brush.fillRect(step, 0, 1, 1);
  }
  return canvas;
}

/** The nearest references of one authenticity, as a list. @param {boolean} matched whether cues were compared */
export function nearest(references, authenticity, matched) {
  return make(
    "div.nearest",
    {},
    make(`h4.${authenticity}`, {}, icon(authenticity), LABELS[authenticity]),
    references.length
      ? make("ul", {}, references.map((one) => nearestOne(one, matched)))
      : make("p.hint", {}, `No ${authenticity} reference was near enough to compare.`),
  );
}

function nearestOne(reference, matched) {
  const alt = `${LABELS[reference.authenticity]} reference of ${reference.product}, ${reference.part}`;
  return make(
    "li",
    {},
    referencePicture(reference.reference_id, alt),
    make("span.similarity", {}, make("strong", {}, number(reference.global_similarity, 3)), " similarity"),
    matched && make("span.hint", {}, `${reference.num_matches} matched cue${reference.num_matches === 1 ? "" : "s"}`),
  );
}
