// A small ring that fills with progress, around a number or an icon.

import { h } from "../core/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const RADIUS = 10;
const LENGTH = 2 * Math.PI * RADIUS;

export class Ring {
  #arc = circle("sl-ring-arc");

  constructor() {
    this.content = h("span", { class: "sl-ring-content" });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    this.#arc.setAttribute("stroke-dasharray", String(LENGTH));
    svg.append(circle("sl-ring-track"), this.#arc);
    this.element = h("span", { class: "sl-ring" }, svg, this.content);
  }

  /** @param {number} fraction  0 to 1 */
  show(fraction) {
    this.#arc.setAttribute("stroke-dashoffset", String(LENGTH * (1 - fraction)));
  }
}

/** @param {string} name  CSS class */
function circle(name) {
  const element = document.createElementNS(SVG, "circle");
  for (const [key, value] of Object.entries({ cx: 12, cy: 12, r: RADIUS, class: name })) element.setAttribute(key, String(value));
  return element;
}
