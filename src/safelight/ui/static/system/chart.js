// A line chart as SVG; lines differ by dashes and labels as well as colour.

import { h } from "../core/dom.js";
import { formatBytes, formatTime } from "../core/text.js";

const HEIGHT = 220;
const MARGIN = { left: 64, right: 8, top: 8, bottom: 24 };
const LINE_STYLES = 6; // number of line styles in system.css

/**
 * @param {{times: number[], lines: {name: string, values: (number | null)[]}[], says: string, width: number}} chart
 *   times: milliseconds, ascending; values: bytes at each time; says: the accessible description;
 *   width: in pixels
 * @returns {HTMLElement}
 */
export function lineChart({ times, lines, says, width }) {
  const highest = Math.max(1, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const step = niceStep(highest / 4);
  const top = Math.ceil(highest / step) * step;
  const [first, last] = [times[0], times[times.length - 1]];
  const x = (/** @type {number} */ time) => MARGIN.left + ((time - first) / Math.max(1, last - first)) * (width - MARGIN.left - MARGIN.right);
  const y = (/** @type {number} */ value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": says });
  for (let value = 0; value <= top; value += step) {
    svg.append(
      svgElement("line", { class: "sl-system-grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svgText(formatBytes(value), { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }),
    );
  }
  for (const [time, anchor] of /** @type {[number, string][]} */ ([[first, "start"], [(first + last) / 2, "middle"], [last, "end"]])) {
    svg.append(svgText(formatTime(time), { x: x(time), y: HEIGHT - 4, "text-anchor": anchor }));
  }
  lines.forEach(({ values }, number) => {
    svg.append(svgElement("path", { class: `sl-system-line sl-line-${number % LINE_STYLES}`, d: pathData(values, (index) => x(times[index]), y) }));
  });
  return h("figure", {}, svg, h("figcaption", {}, lines.map(({ name, values }, number) => legend(name, values.at(-1) ?? null, number))));
}

/** @param {string} name @param {number | null} now @param {number} number */
function legend(name, now, number) {
  const sample = svgElement("svg", { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" });
  sample.append(svgElement("path", { class: `sl-system-line sl-line-${number % LINE_STYLES}`, d: "M1 4H23" }));
  return h("span", {}, sample, name, " ", h("b", {}, now === null ? "–" : formatBytes(now)));
}

/**
 * The path of a line, interrupted at missing values.
 * @param {(number | null)[]} values
 * @param {(index: number) => number} x
 * @param {(value: number) => number} y
 */
function pathData(values, x, y) {
  let penDown = false;
  return values
    .map((value, index) => {
      if (value === null) return ((penDown = false), "");
      const move = penDown ? "L" : "M";
      penDown = true;
      return `${move}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    })
    .join("");
}

/** The smallest 1, 2 or 5 times a power of ten that is not below a number. @param {number} least */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return (/** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power >= least))) * power;
}

/** @param {string} tag @param {Record<string, string | number>} attributes */
function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

/** @param {string} says @param {Record<string, string | number>} attributes */
function svgText(says, attributes) {
  const node = svgElement("text", attributes);
  node.textContent = says;
  return node;
}
