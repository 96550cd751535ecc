// Lines over time as an SVG; told apart by dashes and names too, not by colour alone.

import { h } from "../core/dom.js";
import { clock, size } from "../core/text.js";

const HEIGHT = 220;
const EDGE = { left: 64, right: 8, top: 8, bottom: 24 };
const STYLES = 6; // as many as the style sheet knows

/**
 * @param {{times: number[], lines: {name: string, values: (number | null)[]}[], says: string, width: number}} chart
 *   times: milliseconds, in order; values: bytes at each; says: what the chart shows, for those who do not see it;
 *   width: pixels
 * @returns {HTMLElement}
 */
export function lineChart({ times, lines, says, width }) {
  const highest = Math.max(1, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const step = roundStep(highest / 4);
  const top = Math.ceil(highest / step) * step;
  const [first, last] = [times[0], times[times.length - 1]];
  const x = (/** @type {number} */ time) => EDGE.left + ((time - first) / Math.max(1, last - first)) * (width - EDGE.left - EDGE.right);
  const y = (/** @type {number} */ value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": says });
  for (let value = 0; value <= top; value += step) {
    svg.append(
      element("line", { class: "sl-system-grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      text(size(value), { x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }),
    );
  }
  for (const [time, anchor] of /** @type {[number, string][]} */ ([[first, "start"], [(first + last) / 2, "middle"], [last, "end"]])) {
    svg.append(text(clock(time), { x: x(time), y: HEIGHT - 4, "text-anchor": anchor }));
  }
  lines.forEach(({ values }, number) => {
    svg.append(element("path", { class: `sl-system-line sl-line-${number % STYLES}`, d: path(values, (index) => x(times[index]), y) }));
  });
  return h("figure", {}, svg, h("figcaption", {}, lines.map(({ name, values }, number) => legend(name, values.at(-1) ?? null, number))));
}

/** @param {string} name @param {number | null} now @param {number} number */
function legend(name, now, number) {
  const sample = element("svg", { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" });
  sample.append(element("path", { class: `sl-system-line sl-line-${number % STYLES}`, d: "M1 4H23" }));
  return h("span", {}, sample, name, " ", h("b", {}, now === null ? "–" : size(now)));
}

/**
 * A path through the values; where one is missing it is lifted.
 * @param {(number | null)[]} values
 * @param {(index: number) => number} x
 * @param {(value: number) => number} y
 */
function path(values, x, y) {
  let down = false;
  return values
    .map((value, index) => {
      if (value === null) return ((down = false), "");
      const move = down ? "L" : "M";
      down = true;
      return `${move}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    })
    .join("");
}

/** 1, 2 or 5 times a power of ten, not below a number. @param {number} least */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return (/** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power >= least))) * power;
}

/** @param {string} tag @param {Record<string, string | number>} attributes */
function element(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** @param {string} says @param {Record<string, string | number>} attributes */
function text(says, attributes) {
  const made = element("text", attributes);
  made.textContent = says;
  return made;
}
