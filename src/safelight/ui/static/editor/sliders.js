// The brush's two sliders: its size, which grows evenly to the eye, and the softness of the mask's edge.

import { h } from "../core/dom.js";
import { number, t } from "../core/text.js";

const STEPS = 100; // of the brush's slider
const THINNEST = 1; // pixels of the picture
const SOFTEST = 64; // pixels of the picture

/** @param {{size: (pixels: number) => void, blur: (pixels: number) => void}} told */
export function makeSliders(told) {
  let widest = 512; // pixels of the picture
  const width = (/** @type {number} */ step) => THINNEST * (widest / THINNEST) ** (step / STEPS);
  const size = slider("editor.size", STEPS, (step) => told.size(width(step)));
  const blur = slider("editor.blur", SOFTEST, told.blur);
  return {
    element: h("div", { class: "sl-editor-sliders" }, size.element, blur.element),
    /** @param {{brush: number, blur: number, widest: number}} state  in pixels of the picture */
    update(state) {
      widest = state.widest;
      size.show(Math.round((STEPS * Math.log(state.brush / THINNEST)) / Math.log(widest / THINNEST)), state.brush);
      blur.show(state.blur, state.blur);
    },
  };
}

/** @param {string} key  of its name @param {number} max @param {(value: number) => void} told */
function slider(key, max, told) {
  const input = h("input", { type: "range", min: 0, max, step: 1, value: 0, oninput: () => told(Number(input.value)) });
  const output = h("span", { class: "sl-editor-value", "aria-hidden": "true" });
  return {
    element: h("label", { class: "sl-editor-slider", title: t(`${key}.hint`) }, h("span", {}, t(key)), input, output),
    /** @param {number} value @param {number} pixels  that it stands for */
    show(value, pixels) {
      input.value = String(value);
      const whole = Math.max(1, Math.round(pixels));
      input.setAttribute("aria-valuetext", t("editor.pixels", { n: pixels < 1 ? 0 : whole }));
      output.textContent = `${number(pixels < 1 ? 0 : whole)} px`;
    },
  };
}
