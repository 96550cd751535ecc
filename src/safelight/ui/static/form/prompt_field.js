// A prompt: a text area whose weighted words are highlighted, with its token count, and keys that change weights.

import { h } from "../core/dom.js";
import { errorText } from "../core/error_text.js";
import { formatNumber, t } from "../core/text.js";
import { Frame } from "./frame.js";
import { changeWeight } from "./weights.js";

/** @typedef {import("../controls.js").FormControl} FormControl */
/** @typedef {import("../controls.js").Value} Value */
/** @typedef {{tokens: number | null, chunks: number | null, per_chunk: number | null, wildcards: string[], missing_wildcards: string[],
 *   spans: {start: number, end: number, weight: number}[], error: import("../types").ErrorBody | null}} PromptExplanation */

export class PromptField {
  /** @param {Pick<FormControl, "name" | "aliases" | "label" | "info">} control @param {{onchange: (value: Value) => void, rows: number, placeholder?: string}} options */
  constructor(control, { onchange, rows, placeholder }) {
    this.frame = new Frame(control.name, { ...control, layout: "stacked" });
    this.area = h("textarea", { id: this.frame.inputId, class: "sl-field sl-prompt", rows, placeholder, spellcheck: "true", oninput: () => (this.highlights.clear(), onchange(this.area.value)) });
    this.count = h("span", { id: `${this.frame.id}-tokens`, class: "sl-prompt-says" });
    this.says = h("p", { id: `${this.frame.id}-says`, class: "sl-prompt-says" });
    this.highlights = new Highlights(this.area);
    this.frame.head.append(this.count);
    this.frame.fill([this.area], h("div", { class: "sl-marked" }, this.highlights.element, this.area), this.says);
    this.showsZero = rows > 1; // whether to show a count of 0 tokens
  }

  /** @param {Value} value */
  show(value) {
    const text = String(value ?? "");
    if (this.area.value === text) return;
    this.area.value = text;
    this.highlights.clear();
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.area.focus();
  }

  /** How the server reads the prompt. @param {PromptExplanation} explanation */
  explain({ tokens, chunks, per_chunk, wildcards, missing_wildcards, error, spans }) {
    const capacity = per_chunk && chunks ? per_chunk * chunks : null;
    const count = tokens === null || (!tokens && !this.showsZero) ? "" : t(capacity ? "create.tokens.of" : "create.tokens", { n: tokens, room: capacity ?? 0 });
    const names = (/** @type {string[]} */ each) => each.map((name) => `__${name}__`).join(", ");
    this.count.textContent = [count, chunks && chunks > 1 ? t("create.chunks", { n: chunks }) : ""].filter(Boolean).join(" · ");
    const notes = [wildcards.length && t("create.wild", { names: names(wildcards) }), missing_wildcards.length && t("create.wild.missing", { names: names(missing_wildcards) })];
    this.says.textContent = error ? errorText(error) : notes.filter(Boolean).join(" · ");
    this.says.classList.toggle("sl-bad", !!error || missing_wildcards.length > 0);
    this.highlights.show(error ? [] : spans);
  }

  /** Change the weight of the selected words or of the word at the cursor. @param {number} change */
  changeWeight(change) {
    const { area } = this;
    const edit = changeWeight(area.value, area.selectionStart, area.selectionEnd, change);
    if (edit) this.#replace(edit.from, edit.to, edit.replacement, edit.selection);
  }

  /** Put text in place of the selection. @param {string} text */
  insert(text) {
    const { selectionStart, selectionEnd } = this.area;
    this.area.focus();
    this.#replace(selectionStart, selectionEnd, text, [selectionStart + text.length, selectionStart + text.length]);
  }

  /** Change the text, so that Ctrl+Z undoes it; the focus stays where it is. @param {string} text */
  setText(text) {
    const { area } = this, before = area.value, focused = document.activeElement;
    const shorter = Math.min(before.length, text.length);
    let start = 0, end = 0; // how much is the same at both ends
    while (start < shorter && before[start] === text[start]) start++;
    while (end < shorter - start && before[before.length - 1 - end] === text[text.length - 1 - end]) end++;
    if (start === shorter && before.length === text.length) return;
    area.focus({ preventScroll: true }); // without the focus, nothing can be undone
    const cursor = text.length - end;
    this.#replace(start, before.length - end, text.slice(start, cursor), [cursor, cursor]);
    if (focused instanceof HTMLElement && focused !== area) focused.focus({ preventScroll: true });
  }

  /** Replace a part of the text, so that Ctrl+Z undoes it. @param {number} from @param {number} to @param {string} text @param {[number, number]} selection */
  #replace(from, to, text, selection) {
    const { area } = this;
    area.setSelectionRange(from, to);
    if (document.activeElement !== area || !document.execCommand(text ? "insertText" : "delete", false, text)) { // it acts on what has the focus
      area.setRangeText(text, from, to);
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    area.setSelectionRange(...selection);
  }
}

/** Highlights behind a text area's words for their weight: warm for more than 1, cool for less. */
class Highlights {
  element = h("div", { class: "sl-marks", "aria-hidden": "true" });

  /** @param {HTMLTextAreaElement} area */
  constructor(area) {
    this.area = area;
    area.addEventListener("scroll", () => this.#align());
    new ResizeObserver(() => this.#align()).observe(area);
  }

  /** Remove them: after a change they no longer line up with the words. */
  clear() {
    this.element.replaceChildren();
  }

  /** @param {PromptExplanation["spans"]} spans */
  show(spans) {
    const text = this.area.value;
    /** @type {(Node | string)[]} */
    const parts = [];
    let position = 0;
    for (const { start, end, weight } of [...spans].sort((one, other) => one.start - other.start)) {
      if (start < position) continue;
      const strength = Math.min(1, Math.abs(Math.log2(Math.max(weight, 0.05))));
      parts.push(text.slice(position, start), h("mark", { class: weight > 1 ? "sl-more" : "sl-less", style: `--strength: ${Math.round(20 + strength * 45)}%`, title: formatNumber(weight) }, text.slice(start, end)));
      position = end;
    }
    this.element.replaceChildren(...parts, text.slice(position), "\n");
    this.#align();
  }

  #align() {
    const { area, element } = this;
    element.style.width = `${area.clientWidth}px`;
    element.style.height = `${area.clientHeight}px`;
    element.scrollTop = area.scrollTop;
  }
}
