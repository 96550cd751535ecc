// Two pictures, one above the other, with a divider that is moved by mouse, touch or arrow keys.

import { h } from "../core/dom.js";
import { t } from "../core/text.js";

const END_EVENTS = /** @type {const} */ (["pointerup", "pointercancel"]);

export class BeforeAfter {
  /** Whether the divider can be moved. */
  movable = true;

  constructor() {
    this.images = [h("img", { alt: "", draggable: "false" }), h("img", { alt: "", draggable: "false" })];
    this.slider = h("input", {
      type: "range", min: "0", max: "100", step: "0.5", value: "50", class: "sl-compare-slider",
      "aria-label": t("compare.slider"), oninput: () => this.#setDivider(Number(this.slider.value)),
    });
    this.element = h("div", { class: "sl-compare-pictures" }, this.images[0], h("div", { class: "sl-compare-over" }, this.images[1]),
      this.slider, h("span", { class: "sl-compare-line", "aria-hidden": "true" }));
    this.element.addEventListener("pointerdown", (event) => this.#startDrag(event));
  }

  /** @param {PointerEvent} event */
  #startDrag(event) {
    if (event.button !== 0 || !this.movable) return;
    event.preventDefault();
    this.slider.focus({ preventScroll: true });
    const { element } = this;
    const { left, width } = element.getBoundingClientRect();
    const move = (/** @type {PointerEvent} */ { clientX }) => {
      this.slider.value = String(((clientX - left) / width) * 100);
      this.#setDivider(Number(this.slider.value));
    };
    const end = () => {
      element.removeEventListener("pointermove", move);
      for (const name of END_EVENTS) element.removeEventListener(name, end);
    };
    element.setPointerCapture(event.pointerId);
    element.addEventListener("pointermove", move);
    for (const name of END_EVENTS) element.addEventListener(name, end);
    move(event);
  }

  /** @param {number} percent  position of the divider, in percent of the width */
  #setDivider(percent) {
    this.element.style.setProperty("--sl-at", `${percent}%`);
  }
}
