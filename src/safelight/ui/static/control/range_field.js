// The part of the steps in which a unit counts: one slider with two thumbs, each an input of its own for the keyboard.

import { h } from "../core/dom.js";
import { formatPercent, t } from "../core/text.js";
import { Frame } from "../form/frame.js";

const MIDDLE = 0.5; // above it the lower thumb is on top, so that it can be dragged when both are at the end

export class RangeField {
  /**
   * @param {string} name  of the field, for its element's id
   * @param {{step: number, aliases: string[], onchange: (range: {start: number, end: number}) => void}} options
   */
  constructor(name, { step, aliases, onchange }) {
    this.onchange = onchange;
    this.frame = new Frame(name, { aliases, label: t("control.range"), info: t("control.range.info") });
    const thumb = (/** @type {string} */ label, /** @type {() => void} */ oninput) => h("input", { type: "range", class: "sl-slider sl-range-thumb", min: 0, max: 1, step, "aria-label": label, oninput });
    this.start = thumb(t("control.start"), () => this.#move(Math.min(this.start.valueAsNumber, this.end.valueAsNumber), this.end.valueAsNumber));
    this.end = thumb(t("control.end"), () => this.#move(this.start.valueAsNumber, Math.max(this.start.valueAsNumber, this.end.valueAsNumber)));
    this.start.id = this.frame.inputId;
    this.output = h("output", { class: "sl-range-text" });
    this.track = h("div", { class: "sl-range", onpointerdown: (/** @type {PointerEvent} */ event) => this.#press(event) }, this.start, this.end);
    this.frame.fill([this.start, this.end], this.track, this.output);
  }

  /** @param {{start: number, end: number}} range  fractions of the steps */
  show({ start, end }) {
    this.start.value = String(start);
    this.end.value = String(end);
    this.start.style.zIndex = start > MIDDLE ? "2" : "1";
    this.end.style.zIndex = start > MIDDLE ? "1" : "2";
    this.track.style.setProperty("--from", `${100 * start}%`);
    this.track.style.setProperty("--to", `${100 * end}%`);
    this.start.setAttribute("aria-valuetext", formatPercent(start));
    this.end.setAttribute("aria-valuetext", formatPercent(end));
    this.output.textContent = `${formatPercent(start)} – ${formatPercent(end)}`;
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.start.focus();
  }

  /** @param {number} start @param {number} end */
  #move(start, end) {
    this.show({ start, end });
    this.onchange({ start, end });
  }

  /** A press on the track moves the thumb that is nearer, which then follows the pointer. @param {PointerEvent} event */
  #press(event) {
    if (event.target !== this.track || event.button !== 0) return; // a thumb moves by itself
    event.preventDefault();
    const { left, width } = this.track.getBoundingClientRect();
    const at = (/** @type {PointerEvent} */ { clientX }) => Math.min(1, Math.max(0, (clientX - left) / width));
    const [start, end] = [this.start.valueAsNumber, this.end.valueAsNumber];
    const thumb = Math.abs(at(event) - start) < Math.abs(at(event) - end) || at(event) < start ? this.start : this.end;
    const follow = (/** @type {PointerEvent} */ moved) => {
      thumb.value = String(at(moved));
      thumb.dispatchEvent(new Event("input"));
    };
    thumb.focus();
    follow(event);
    this.track.setPointerCapture(event.pointerId);
    this.track.addEventListener("pointermove", follow);
    this.track.addEventListener("lostpointercapture", () => this.track.removeEventListener("pointermove", follow), { once: true });
  }
}
