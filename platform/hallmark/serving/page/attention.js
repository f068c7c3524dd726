// Where a classifier looked: its heat and windows over the photograph, and each window by itself.
// Windows and the grid's box are px of the whole photograph, x to the right, y downwards; beside the photograph is padding.

import { make } from "./elements.js";
import { heatMap, heatSlider } from "./evidence.js";
import { picture } from "./photographs.js";
import { percent } from "./wording.js";

// Of as many colours as the drawings of the service, in their order.
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#78a0ff", "#ebebeb"];
const MOST_WINDOWS = 12;

/**
 * @param {string} url of the query
 * @param {{rows: number, columns: number, values: number[], box: number[], windows: object[]}} attention
 * @param {{width: number, height: number}} size of the photograph, px
 */
export function attentionView(url, attention, size) {
  const windows = attention.windows.slice(0, MOST_WINDOWS);
  const canvas = heatMap(attention, 1);
  const [x0, y0, x1, y1] = attention.box;
  place(canvas, { x0, y0, x1, y1 }, size);
  const outlines = windows.map((one, number) => outline(one, number, size));
  const tiles = windows.map((one, number) => tile(url, one, number, size));
  windows.forEach((_, number) => light(tiles[number], outlines, number));
  const shown = make("div.lightbox", {}, make("div.overlaid", {}, picture(url, "The photograph asked about"), canvas, outlines));
  return make(
    "div.attention",
    {},
    shown,
    make(
      "div.attention-side",
      {},
      make("p", {}, sentence(windows, attention.windows.length)),
      heatSlider(canvas, "Heat over photograph", 60),
      tiles.length > 0 && make("ol.crops", { aria: { label: "Windows by what they count" } }, tiles),
    ),
  );
}

function sentence(windows, found) {
  const told = "Bright is where the classifier looked.";
  if (!windows.length) return told;
  const left = windows.length < found ? ` The ${windows.length} of ${found} that count most are shown.` : "";
  return `${told} It also looked at each window by itself; the share is what the window counts in the vote.${left}`;
}

/** Lay an element over a box of the photograph. */
function place(element, { x0, y0, x1, y1 }, { width, height }) {
  Object.assign(element.style, {
    left: `${(100 * x0) / width}%`,
    top: `${(100 * y0) / height}%`,
    width: `${(100 * (x1 - x0)) / width}%`,
    height: `${(100 * (y1 - y0)) / height}%`,
  });
}

function outline(window, number, size) {
  const element = make("div.window", { aria: { hidden: "true" } }, make("span.window-number", {}, number + 1));
  element.style.setProperty("--mark", COLOURS[number % COLOURS.length]);
  // Those that count most lie on top.
  element.style.zIndex = String(MOST_WINDOWS - number);
  place(element, window, size);
  return element;
}

function tile(url, window, number, { width, height }) {
  const [wide, high] = [window.x1 - window.x0, window.y1 - window.y0];
  const image = picture(url, "");
  Object.assign(image.style, {
    width: `${(100 * width) / wide}%`,
    height: `${(100 * height) / high}%`,
    left: `${(-100 * window.x0) / wide}%`,
    top: `${(-100 * window.y0) / high}%`,
  });
  const crop = make("div.crop", {}, image);
  crop.style.aspectRatio = `${wide} / ${high}`;
  // As large as fits into the square.
  crop.style.width = `${100 * Math.min(1, wide / high)}%`;
  const weight = percent(window.weight);
  const where = `${window.x0} to ${window.x1} px across, ${window.y0} to ${window.y1} px down`;
  const button = make(
    "button.crop-tile",
    { type: "button", title: where, aria: { label: `Window ${number + 1}, ${weight} of the vote: ${where}` } },
    make("span.crop-ground", {}, crop),
    make("span.crop-said", {}, make("span.crop-number", {}, number + 1), make("strong", {}, weight)),
  );
  button.style.setProperty("--mark", COLOURS[number % COLOURS.length]);
  return make("li", {}, button);
}

/** A pointed at or focused tile lights up its window in the photograph. */
function light(item, outlines, number) {
  const button = item.firstElementChild;
  const show = (isLit) => () => outlines.forEach((one, place_) => {
    one.classList.toggle("lit", isLit && place_ === number);
    one.classList.toggle("faint", isLit && place_ !== number);
  });
  for (const event of ["mouseenter", "focus"]) button.addEventListener(event, show(true));
  for (const event of ["mouseleave", "blur"]) button.addEventListener(event, show(false));
}
