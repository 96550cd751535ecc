// A seed: whole numbers up to 63 bits, which JavaScript's numbers cannot hold, so its value is a text; empty: random.

import { h } from "../core/dom.js";
import { t } from "../core/text.js";
import { Frame } from "./frame.js";

/** @typedef {import("../controls.js").FormControl} FormControl */
/** @typedef {import("../controls.js").Value} Value */

export class SeedField {
  /** @param {FormControl} control @param {(value: string) => void} onchange @param {"line" | "short"} [layout] */
  constructor(control, onchange, layout = "line") {
    this.frame = new Frame(control.name, { aliases: control.aliases, layout });
    this.input = h("input", { type: "text", id: this.frame.inputId, class: "sl-field sl-seed", inputmode: "numeric", autocomplete: "off", spellcheck: "false", placeholder: t("create.seed.random"), oninput: () => onchange(this.input.value.trim()) });
    this.frame.fill([this.input]);
  }

  /** Add buttons behind the input. @param {...HTMLElement} buttons */
  addButtons(...buttons) {
    this.frame.fill([this.input], this.input, ...buttons);
  }

  /** @param {Value} value */
  show(value) {
    const text = String(value ?? "");
    if (this.input.value.trim() !== text) this.input.value = text;
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.input.focus();
  }
}

/**
 * What is wrong with a seed, as the server would say it.
 * @param {string} text  empty: random
 * @param {bigint} limit  the largest seed
 * @returns {{code: string, context: Record<string, string>} | null}
 */
export function seedProblem(text, limit) {
  if (text === "") return null;
  if (!/^\d+$/.test(text)) return { code: "request.type", context: { expected: "integer" } };
  return BigInt(text) > limit ? { code: "request.above_maximum", context: { maximum: String(limit) } } : null;
}
