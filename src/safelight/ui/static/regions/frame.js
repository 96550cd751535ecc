// The picture's frame in the form, on which the regions' rectangles are moved and resized, by pointer and by keys.

import { h } from "../core/dom.js";
import { formatPercent, t } from "../core/text.js";
import { colourOf } from "./overlay.js";

/** @typedef {import("./list.js").Box} Box */
/** @typedef {import("./list.js").Region} Region */
/** @typedef {{x: "left" | "right", y: "top" | "bottom"}} Corner */

const STEP = 0.01, LARGE_STEP = 0.05; // fractions of the picture per key press; with Ctrl
const MIN_SIDE = 0.05;
/** @type {Corner[]} */
const CORNERS = [{ x: "left", y: "top" }, { x: "right", y: "top" }, { x: "left", y: "bottom" }, { x: "right", y: "bottom" }];
const DIRECTIONS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });

export class RegionFrame {
  /** By the region's id. @type {Map<number, HTMLButtonElement>} */
  #elements = new Map();
  /** The boxes as they were shown last. @type {Map<number, Box>} */
  #boxes = new Map();

  /** @param {{onchange: (id: number, box: Box) => void, onselect: (id: number) => void}} calls */
  constructor({ onchange, onselect }) {
    this.onchange = onchange;
    this.onselect = onselect;
    this.element = h("div", { class: "sl-regions-frame", role: "group", "aria-label": t("regions.frame") });
  }

  /** @param {readonly Region[]} regions @param {{width: number, height: number}} size  of the picture @param {string} drawing  URL of the regions in their colours */
  show(regions, { width, height }, drawing) {
    this.element.style.aspectRatio = `${width} / ${height}`;
    this.element.style.setProperty("--ratio", String(width / height));
    this.element.style.setProperty("--drawing", drawing ? `url("${drawing}")` : "none");
    for (const [id, box] of this.#elements) {
      if (regions.some((region) => region.id === id && region.box && !region.mask)) continue;
      box.remove();
      this.#elements.delete(id);
    }
    regions.forEach(({ id, box, mask }, index) => {
      if (!box || mask) return;
      const element = this.#elements.get(id) ?? this.#make(id);
      this.#elements.set(id, element);
      element.style.setProperty("--colour", colourOf(index));
      place(element, box);
      element.firstElementChild?.replaceChildren(String(index + 1));
      element.ariaLabel = t("regions.box", { number: index + 1, left: formatPercent(box.left), right: formatPercent(box.right), top: formatPercent(box.top), bottom: formatPercent(box.bottom) });
      this.#boxes.set(id, box);
      if (!element.isConnected) this.element.append(element);
    });
  }

  /** @param {number} id */
  #make(id) {
    const element = h("button", { type: "button", class: "sl-region-box", title: t("regions.box.keys"), onfocus: () => this.onselect(id) },
      h("span", { class: "sl-reference-number", "aria-hidden": "true" }),
      CORNERS.map(({ x, y }) => h("span", { class: `sl-region-corner sl-${x} sl-${y}`, "aria-hidden": "true" })));
    element.addEventListener("pointerdown", (event) => this.#press(event, id, element));
    element.addEventListener("keydown", (event) => {
      const direction = DIRECTIONS[event.key];
      const box = this.#boxes.get(id);
      if (!direction || !box || event.altKey || event.metaKey) return;
      event.preventDefault();
      const step = event.ctrlKey ? LARGE_STEP : STEP;
      const [x, y] = direction.map((sign) => sign * step);
      this.onchange(id, event.shiftKey ? resized(box, { x: "right", y: "bottom" }, x, y) : moved(box, x, y));
    });
    return element;
  }

  /** @param {PointerEvent} press @param {number} id @param {HTMLElement} element */
  #press(press, id, element) {
    const box = this.#boxes.get(id);
    if (press.button !== 0 || !box) return;
    const corner = CORNERS[[...element.children].indexOf(/** @type {Element} */ (press.target)) - 1];
    const { width, height } = this.element.getBoundingClientRect();
    let current = box;
    const stop = new AbortController();
    const { signal } = stop;
    press.preventDefault();
    element.focus();
    element.setPointerCapture(press.pointerId);
    element.addEventListener("pointermove", ({ clientX, clientY }) => {
      const x = (clientX - press.clientX) / width, y = (clientY - press.clientY) / height;
      current = corner ? resized(box, corner, x, y) : moved(box, x, y);
      place(element, current);
    }, { signal });
    element.addEventListener("lostpointercapture", () => {
      stop.abort();
      if (current !== box) this.onchange(id, current);
    }, { signal });
  }
}

/** @param {HTMLElement} element @param {Box} box */
function place(element, { left, top, right, bottom }) {
  Object.assign(element.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
}

/** @param {Box} box @param {number} x @param {number} y @returns {Box} */
function moved({ left, top, right, bottom }, x, y) {
  const across = clamp(round(x), -left, 1 - right), down = clamp(round(y), -top, 1 - bottom);
  return { left: round(left + across), right: round(right + across), top: round(top + down), bottom: round(bottom + down) };
}

/** @param {Box} box @param {Corner} corner  that moves @param {number} x @param {number} y @returns {Box} */
function resized(box, corner, x, y) {
  const side = (/** @type {keyof Box} */ name, /** @type {number} */ by) => {
    const [least, most] = { left: [0, box.right - MIN_SIDE], right: [box.left + MIN_SIDE, 1], top: [0, box.bottom - MIN_SIDE], bottom: [box.top + MIN_SIDE, 1] }[name];
    return round(clamp(box[name] + by, least, most));
  };
  return { ...box, [corner.x]: side(corner.x, x), [corner.y]: side(corner.y, y) };
}

/** @param {number} value @param {number} least @param {number} most */
const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
/** @param {number} fraction */
const round = (fraction) => Math.round(100 * fraction) / 100;
