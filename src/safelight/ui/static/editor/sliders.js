// The tools' sliders: the brush's size, on a logarithmic scale, the softness of the mask's edge, and the fill tool's tolerance.

import { h } from "../core/dom.js";
import { showFilled } from "../core/slider.js";
import { formatNumber, formatPercent, t } from "../core/text.js";

const SIZE_STEPS = 100; // positions of the size slider
const MIN_WIDTH = 1; // pixels of the picture

/** @param {number} maxBlur  in pixels of the picture @param {{size: (pixels: number) => void, blur: (pixels: number) => void, tolerance: (share: number) => void}} handlers */
export function makeSliders(maxBlur, handlers) {
  let widest = 512; // pixels of the picture
  const width = (/** @type {number} */ step) => MIN_WIDTH * (widest / MIN_WIDTH) ** (step / SIZE_STEPS);
  const size = slider("editor.size", SIZE_STEPS, (step) => handlers.size(width(step)));
  const blur = slider("editor.blur", maxBlur, handlers.blur);
  const tolerance = slider("editor.tolerance", 100, (percent) => handlers.tolerance(percent / 100));
  return {
    blur: blur.element,
    element: h("div", { class: "sl-editor-sliders" }, size.element, blur.element, tolerance.element),
    /** @param {{tool: import("./toolbar.js").Tool, brush: number, blur: number, widest: number, tolerance: number}} state  in pixels of the picture; tolerance: 0 to 1 */
    update(state) {
      widest = state.widest;
      size.element.hidden = state.tool !== "brush";
      tolerance.element.hidden = state.tool !== "fill";
      size.show(Math.round((SIZE_STEPS * Math.log(state.brush / MIN_WIDTH)) / Math.log(widest / MIN_WIDTH)), ...inPixels(state.brush));
      blur.show(state.blur, ...inPixels(state.blur));
      tolerance.show(Math.round(state.tolerance * 100), formatPercent(state.tolerance), formatPercent(state.tolerance));
    },
  };
}

/** @param {string} key  of its name @param {number} max @param {(value: number) => void} onvalue */
function slider(key, max, onvalue) {
  const input = h("input", { type: "range", class: "sl-slider", min: 0, max, step: 1, value: 0, oninput: () => (showFilled(input), onvalue(Number(input.value))) });
  const output = h("span", { class: "sl-editor-value", "aria-hidden": "true" });
  return {
    element: h("label", { class: "sl-editor-slider", title: t(`${key}.hint`) }, h("span", {}, t(key)), input, output),
    /** @param {number} value @param {string} text @param {string} spoken  what the value means */
    show(value, text, spoken) {
      input.value = String(value);
      showFilled(input);
      input.setAttribute("aria-valuetext", spoken);
      output.textContent = text;
    },
  };
}

/** A length, as shown and as spoken. @param {number} pixels @returns {[string, string]} */
function inPixels(pixels) {
  const rounded = pixels < 1 ? 0 : Math.round(pixels);
  return [`${formatNumber(rounded)} px`, t("editor.pixels", { n: rounded })];
}
