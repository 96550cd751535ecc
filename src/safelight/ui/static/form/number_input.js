// An input for a number. What is being typed is never rewritten: the form gets the nearest permitted value, and the text follows it when the focus leaves.

import { h } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";

/** @typedef {{minimum: number, limit: number, step: number, whole: boolean, optional?: boolean}} NumberRange  step: of arrow keys and wheel; optional: may be empty */

const LARGE_STEP = 10; // steps, with Shift
const DIGITS = 6; // decimals that are kept

export class NumberInput {
  /** The value that the form holds; null: none. @type {number | null} */
  #value = null;
  multiple = 1; // of whole numbers

  /**
   * @param {NumberRange} range
   * @param {{onchange: (value: number | "") => void, onnote?: (text: string) => void, [attribute: string]: any}} options
   *   onnote: called with what has become of a typed value that was not permitted, or with an empty text
   */
  constructor(range, { onchange, onnote = () => {}, ...attributes }) {
    this.range = range;
    this.onchange = onchange;
    this.onnote = onnote;
    this.input = h("input", {
      type: "number", class: "sl-field sl-number", min: range.minimum, max: range.limit, step: "any", inputmode: range.whole ? "numeric" : "decimal", autocomplete: "off", ...attributes,
      oninput: () => this.#onInput(),
      onblur: () => this.commit(),
      onmousedown: (/** @type {MouseEvent} */ event) => this.#onMouseDown(event),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(event),
    });
    this.input.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
  }

  /** Show a value; text that already stands for it stays. @param {import("../controls.js").Value} value */
  show(value) {
    const number = value === "" || value === null ? null : Number(value);
    if (number === this.#value && document.activeElement === this.input) return;
    if (number !== this.#value) this.onnote("");
    this.#value = number;
    this.#renderText();
  }

  /** Let the text follow the value, and say so if that changes it. */
  commit() {
    const text = this.input.value;
    this.#renderText();
    if (text === "" || Number(text) === this.#value || this.#value === null) return;
    const { minimum, limit } = this.range;
    const reason = this.multiple > 1 && Number(text) >= minimum && Number(text) <= limit ? t("create.note.multiple", { multiple: this.multiple }) : t("create.note.range", { minimum, maximum: limit });
    this.onnote(t("create.note.changed", { from: formatNumber(Number(text), DIGITS), to: formatNumber(this.#value, DIGITS), reason }));
  }

  /** The permitted value that is nearest to a number. @param {number} number */
  nearest(number) {
    const { minimum, limit, whole } = this.range;
    const unit = whole ? this.multiple : 10 ** -DIGITS;
    const rounded = whole ? Math.round(number / unit) * unit : Number(number.toFixed(DIGITS));
    return Math.min(whole ? Math.floor(limit / unit) * unit : limit, Math.max(whole ? Math.ceil(minimum / unit) * unit : minimum, rounded));
  }

  #renderText() {
    const text = this.#value === null ? "" : String(this.#value);
    if (this.input.value !== text || this.input.validity.badInput) this.input.value = text;
  }

  #onInput() {
    this.onnote("");
    if (this.input.value !== "") this.#change(this.nearest(Number(this.input.value)));
    else if (this.range.optional && !this.input.validity.badInput) this.#change(null);
  }

  /** @param {number | null} value */
  #change(value) {
    if (value === this.#value) return;
    this.#value = value;
    this.onchange(value ?? "");
  }

  /** The press that gives the focus selects the number, so that typing replaces it. @param {MouseEvent} event */
  #onMouseDown(event) {
    if (event.button !== 0 || document.activeElement === this.input) return;
    event.preventDefault(); // it would place the cursor
    this.input.focus();
    this.input.select();
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#step(direction * (event.shiftKey ? LARGE_STEP : 1));
  }

  /** The wheel changes the number only where it is being edited; elsewhere it scrolls the form. @param {WheelEvent} event */
  #onWheel(event) {
    if (document.activeElement !== this.input || event.ctrlKey || !event.deltaY) return;
    event.preventDefault();
    this.#step(event.deltaY < 0 ? 1 : -1);
  }

  /** Go to the next value on the grid of steps. @param {number} steps */
  #step(steps) {
    const step = this.range.whole ? Math.max(this.range.step, this.multiple) : this.range.step;
    const position = (this.#value ?? this.range.minimum) / step;
    const whole = Math.abs(position - Math.round(position)) < 1e-6 ? Math.round(position) : steps > 0 ? Math.floor(position) : Math.ceil(position);
    this.#change(this.nearest((whole + steps) * step));
    this.onnote("");
    this.#renderText();
  }
}
