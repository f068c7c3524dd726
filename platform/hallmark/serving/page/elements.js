// Making elements. Text always enters as text, never as markup: names and reasons come from others.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} kind tag and classes, such as "p.hint"
 * @param {object} [told] properties; `on` holds event listeners, `aria` and `data` attributes of these prefixes
 * @param {...(Node|string|number|null|undefined|false|Array)} content children; nothing is made of null and false
 */
export function make(kind, told = {}, ...content) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(told)) {
    if (value === null || value === undefined) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "aria") for (const [key, said] of Object.entries(value)) element.setAttribute(`aria-${key}`, said);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  put(element, content);
  return element;
}

function put(element, content) {
  for (const one of content) {
    if (Array.isArray(one)) put(element, one);
    else if (one !== null && one !== undefined && one !== false) element.append(one);
  }
}

/** One of the symbols of index.html; what it means must also be said in words beside it. */
export function icon(name, classes = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  if (classes) svg.setAttribute("class", classes);
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export const find = (id) => document.getElementById(id);

/** Say something to a screen reader, politely. */
export function announce(text) {
  const status = find("status");
  // The same text twice would not be read again.
  status.textContent = status.textContent === text ? `${text}\u00a0` : text;
}

/** Move focus to a place that takes none by itself, such as a heading. */
export function focusOn(element) {
  if (element.tabIndex < 0 && !element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.focus();
}

let counter = 0;
/** An id that no other element has. */
export const freshId = (prefix) => `${prefix}-${(counter += 1)}`;
