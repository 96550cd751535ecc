// The brush's sliders: its size, on a logarithmic scale, and the softness of the mask's edge.

import { h } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";

const SIZE_STEPS = 100; // positions of the size slider
const MIN_WIDTH = 1; // pixels of the picture

/** @param {number} maxBlur  in pixels of the picture @param {{size: (pixels: number) => void, blur: (pixels: number) => void}} handlers */
export function makeSliders(maxBlur, handlers) {
  let widest = 512; // pixels of the picture
  const width = (/** @type {number} */ step) => MIN_WIDTH * (widest / MIN_WIDTH) ** (step / SIZE_STEPS);
  const size = slider("editor.size", SIZE_STEPS, (step) => handlers.size(width(step)));
  const blur = slider("editor.blur", maxBlur, handlers.blur);
  return {
    element: h("div", { class: "sl-editor-sliders" }, size.element, blur.element),
    /** @param {{brush: number, blur: number, widest: number}} state  in pixels of the picture */
    update(state) {
      widest = state.widest;
      size.show(Math.round((SIZE_STEPS * Math.log(state.brush / MIN_WIDTH)) / Math.log(widest / MIN_WIDTH)), state.brush);
      blur.show(state.blur, state.blur);
    },
  };
}

/** @param {string} key  of its name @param {number} max @param {(value: number) => void} onvalue */
function slider(key, max, onvalue) {
  const input = h("input", { type: "range", min: 0, max, step: 1, value: 0, oninput: () => onvalue(Number(input.value)) });
  const output = h("span", { class: "sl-editor-value", "aria-hidden": "true" });
  return {
    element: h("label", { class: "sl-editor-slider", title: t(`${key}.hint`) }, h("span", {}, t(key)), input, output),
    /** @param {number} value @param {number} pixels  what the value means */
    show(value, pixels) {
      input.value = String(value);
      const rounded = Math.max(1, Math.round(pixels));
      input.setAttribute("aria-valuetext", t("editor.pixels", { n: pixels < 1 ? 0 : rounded }));
      output.textContent = `${formatNumber(pixels < 1 ? 0 : rounded)} px`;
    },
  };
}
