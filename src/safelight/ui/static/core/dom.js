// Create elements by function calls instead of HTML strings, so that text is never parsed as markup.

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Attributes  "on…" with a function adds an event listener; every other name sets an attribute
 */

/**
 * Create an element with attributes, event listeners and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]  null, undefined and false omit an attribute; true sets it without a value
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(.../** @type {(Node | string)[]} */ (children.flat().filter(isRendered).map(toNode)));
  return element;
}

/**
 * Replace the children of an element.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function setChildren(element, ...children) {
  element.replaceChildren(.../** @type {(Node | string)[]} */ (children.flat().filter(isRendered).map(toNode)));
}

/**
 * One of our icons, in the colour of the text.
 * @param {keyof typeof ICONS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries(ICON_ATTRIBUTES)) svg.setAttribute(key, value);
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/**
 * A button with an icon, a label, or both; with the icon alone the label becomes its accessible name.
 * @param {{icon?: keyof typeof ICONS, label: string, iconOnly?: boolean, kind?: "primary" | "quiet",
 *          onclick: (event: MouseEvent) => void, [attribute: string]: any}} options
 */
export function button({ icon: image, label, iconOnly = false, kind, onclick, ...attributes }) {
  return h(
    "button",
    {
      type: "button",
      class: `sl-button${kind ? ` sl-${kind}` : ""}${iconOnly ? " sl-bare" : ""}`,
      title: iconOnly ? label : null,
      "aria-label": iconOnly ? label : null,
      onclick,
      ...attributes,
    },
    image && icon(image),
    !iconOnly && h("span", {}, label),
  );
}

/**
 * Call a function for every element that matches, now or later; Gradio adds a tab's content when the tab is first shown.
 * @param {string} selector
 * @param {(element: HTMLElement) => void} then  called once for each element
 */
export function onElementAdded(selector, then) {
  const seen = new WeakSet();
  const check = () => {
    for (const element of document.querySelectorAll(selector)) {
      if (seen.has(element) || !(element instanceof HTMLElement)) continue;
      seen.add(element);
      then(element);
    }
  };
  observe(check);
}

/**
 * Resolves to the first element that matches, as soon as one is in the document.
 * @param {string} selector
 * @returns {Promise<HTMLElement>}
 */
export const waitForElement = (selector) =>
  new Promise((resolve) => {
    const check = () => {
      const element = document.querySelector(selector);
      if (!(element instanceof HTMLElement)) return;
      pendingChecks.delete(check);
      resolve(element);
    };
    observe(check);
  });

/** @param {() => void} check  called now, and after every change of the document */
function observe(check) {
  if (pendingChecks.size === 0) {
    const observer = new MutationObserver(() => (pendingChecks.size ? pendingChecks.forEach((each) => each()) : observer.disconnect()));
    observer.observe(document.documentElement, { childList: true, subtree: true });
  }
  pendingChecks.add(check);
  check();
}

/** @type {Set<() => void>} */
const pendingChecks = new Set();

/** @param {Element} element @param {string} name @param {any} value */
function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (name === "value" && "value" in element) element.value = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** @param {Child} child */
const isRendered = (child) => child !== null && child !== undefined && child !== false;
/** @param {Child} child */
const toNode = (child) => (child instanceof Node ? child : String(child));

const SVG = "http://www.w3.org/2000/svg";
const ICON_ATTRIBUTES = {
  viewBox: "0 0 24 24", width: "18", height: "18", fill: "none", stroke: "currentColor", "stroke-width": "1.8",
  "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", class: "sl-icon",
};
const ICONS = {
  close: ["M6 6l12 12", "M18 6L6 18"],
  stop: ["M7 7h10v10H7z"],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  heart: ["M12 20s-7.5-4.6-9-9.2C1.8 7.2 4.2 4.6 7.2 4.6c2 0 3.6 1.1 4.8 2.9 1.2-1.8 2.8-2.9 4.8-2.9 3 0 5.4 2.6 4.2 6.200C19.5 15.4 12 20 12 20z"],
  download: ["M12 4v11", "M7.5 11l4.5 4.5 4.5-4.5", "M5 20h14"],
  trash: ["M5 7h14", "M10 7V4.500h4V7", "M7 7l.8 12.500h8.400L17 7", "M10.5 11v5", "M13.5 11v5"],
  copy: ["M9 9h10v11H9z", "M15 9V4H5v11h4"],
  reuse: ["M4 11a8 8 0 0 1 13.7-4.800L20 8.5", "M20 4v4.500h-4.5", "M20 13a8 8 0 0 1-13.7 4.800L4 15.5", "M4 20v-4.500h4.5"],
  dice: ["M5 5h14v14H5z", "M9 9h.01", "M15 9h.01", "M12 12h.01", "M9 15h.01", "M15 15h.01"],
  lock: ["M6 11h12v9H6z", "M9 11V8a3 3 0 0 1 6 0v3"],
  unlock: ["M6 11h12v9H6z", "M9 11V8a3 3 0 0 1 5.8-1"],
  vary: ["M4 17c4 0 4-10 8-10s4 10 8 10"],
  enlarge: ["M4 14v6h6", "M20 10V4h-6", "M4 20l7-7", "M20 4l-7 7"],
  edit: ["M4 20l1-4L16 5l3 3L8 19z", "M13.5 7.500l3 3"],
  left: ["M14.5 5.500L8 12l6.5 6.5"],
  right: ["M9.5 5.500L16 12l-6.5 6.5"],
  up: ["M5.5 14.500L12 8l6.500 6.5"],
  down: ["M6 9.500l6 6 6-6"],
  swap: ["M7.5 4L4 7.500 7.5 11", "M4 7.500h13", "M16.5 13l3.5 3.500-3.5 3.5", "M20 16.500H7"],
  history: ["M4.5 12a7.5 7.5 0 1 0 2.2-5.300L4 9.400", "M4 5v4.400h4.400", "M12 8v4.300l3 1.700"],
  plus: ["M12 5v14", "M5 12h14"],
  minus: ["M5 12h14"],
  grid: ["M4 4h7v7H4z", "M13 4h7v7h-7z", "M4 13h7v7H4z", "M13 13h7v7h-7z"],
  picture: ["M4 5h16v14H4z", "M4 16l5-5 4 4 3-3 4 4", "M15 9h.01"],
  fit: ["M4 9V4h5", "M15 4h5v5", "M20 15v5h-5", "M9 20H4v-5"],
  compare: ["M12 4v16", "M4 7h5v10H4z", "M15 7h5v10h-5z"],
  search: ["M11 4.500a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z", "M16 16l4.5 4.5"],
  upload: ["M12 16V5", "M7.5 9.500L12 5l4.5 4.5", "M5 20h14"],
  eye: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z", "M12 9.500a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z"],
  shield: ["M12 3l7.5 2.500v6c0 4.5-3 8-7.5 9.5-4.5-1.5-7.5-5-7.5-9.500v-6z"],
  warning: ["M12 4L2.5 20h19z", "M12 10v4.5", "M12 17.500h.01"],
  more: ["M6 12h.01", "M12 12h.01", "M18 12h.01"],
  brush: ["M4 20c3 0 4-1 4-3 0-1.5-1-2.5-2.5-2.500S3 16 4 20z", "M8 15L19 4l1 1L9.5 16.5"],
  eraser: ["M8 19l-4.5-4.500L13 5l6.5 6.500L12 19z", "M8 19h12", "M8.5 9.500L15 16"],
  lasso: ["M12 4c5 0 9 2.500 9 6s-4 6-9 6-9-2.500-9-6 4-6 9-6z", "M6.500 15c-1.500 1.500-.5 3.500 1.500 3s3.500.5 2.500 3"],
  fill: ["M11 4l8 8-7 7-8-7.500z", "M8 1.500L13 6", "M4 12h15", "M21 16.500c1 1.500 1.500 2.200 1.500 3a1.500 1.500 0 0 1-3 0c0-.8.5-1.500 1.500-3z"],
  expand: ["M8.5 8.500h7v7h-7z", "M3.5 7V3.500H7", "M17 3.500h3.500V7", "M20.500 17v3.500H17", "M7 20.500H3.500V17", "M12 3.500h.01", "M12 20.500h.01", "M3.500 12h.01", "M20.500 12h.01"],
  wand: ["M4.500 19.500L14 10", "M17 3.500v3", "M17 10.500v3", "M12 7h3", "M19 7h3", "M13.500 3.500l1.500 1.500", "M20.500 3.500L19 5"],
  undo: ["M8 5L4 9l4 4", "M4 9h10a5.5 5.5 0 0 1 0 11h-3"],
  redo: ["M16 5l4 4-4 4", "M20 9H10a5.5 5.5 0 0 0 0 11h3"],
  filter: ["M4 7h16", "M7 12h10", "M10 17h4"],
  info: ["M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M12 11v5", "M12 8h.01"],
  pause: ["M8.5 6v12", "M15.5 6v12"],
  play: ["M8 5.500l10.5 6.500L8 18.5z"],
  grip: ["M9 6h.01", "M15 6h.01", "M9 12h.01", "M15 12h.01", "M9 18h.01", "M15 18h.01"],
  queue: ["M4 6.500h16", "M4 12h16", "M4 17.500h9"],
  tag: ["M4 4h8l8 8-8 8-8-8z", "M8.5 8.500h.01"],
  collection: ["M4 7h6l2 2h8v10H4z"],
  select: ["M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M8.5 12.200l2.5 2.500 4.500-5"],
  help: ["M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M9.500 9.500a2.5 2.5 0 1 1 3.500 2.300c-.7.300-1 .7-1 1.400v.3", "M12 16.500h.01"],
  user: ["M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M4.5 20.500c.8-4 3.8-6 7.5-6s6.7 2 7.5 6"],
};
