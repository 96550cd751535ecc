// A number: a slider over the useful range and an input for every permitted value, in one line.

import { h } from "../core/dom.js";
import { showFilled } from "../core/slider.js";
import { Frame } from "./frame.js";
import { NumberInput } from "./number_input.js";

/** @typedef {import("../controls.js").FormControl} FormControl */
/** @typedef {import("../controls.js").Value} Value */

export class NumberField {
  /** @param {FormControl} control @param {{onchange: (value: Value) => void, layout?: "line" | "short"}} options  layout short: without the slider */
  constructor(control, { onchange, layout = "line" }) {
    const minimum = Number(control.minimum ?? 0);
    const maximum = Number(control.maximum ?? control.limit);
    this.frame = new Frame(control.name, { ...control, layout });
    this.number = new NumberInput(
      { minimum, limit: Math.max(maximum, Number(control.limit ?? maximum)), step: control.step ?? 0.1, whole: control.type === "integer", optional: control.initial === "" },
      { id: this.frame.inputId, onchange: (value) => (this.#renderSlider(value), onchange(value)), onnote: (text) => this.frame.note(text) },
    );
    this.slider = layout === "line" && control.control === "slider"
      ? h("input", { type: "range", class: "sl-slider", tabindex: -1, min: minimum, max: maximum, step: control.step ?? "any", "aria-labelledby": this.frame.labelId, oninput: () => this.#slide(onchange) })
      : null;
    this.frame.fill([this.number.input], this.slider ?? false, this.number.input);
  }

  /** @param {Value} value */
  show(value) {
    this.number.show(value);
    this.#renderSlider(value);
  }

  commit() {
    this.number.commit();
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.number.input.focus();
  }

  /** @param {(value: Value) => void} onchange */
  #slide(onchange) {
    const value = this.number.nearest(Number(this.slider?.value));
    this.frame.note("");
    this.show(value);
    onchange(value);
  }

  /** @param {Value} value */
  #renderSlider(value) {
    const { slider } = this;
    if (!slider) return;
    slider.value = String(value);
    showFilled(slider);
  }
}
