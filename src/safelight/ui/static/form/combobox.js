// A list of choices that can be searched: the ARIA pattern of an editable combobox with a listbox.

import { h, icon, setChildren } from "../core/dom.js";
import { t } from "../core/text.js";
import { place } from "./popup.js";

/** @typedef {{value: string, label: string, group?: string, aliases?: string[], detail?: string, unfit?: boolean}} Choice  aliases: other names that find it; unfit: shown, and cannot be chosen */

let count = 0;

export class Combobox {
  /** @type {Choice[]} */
  #choices = [];
  /** The choices that match what is typed, and their elements. @type {{choice: Choice, element: HTMLElement}[]} */
  #shown = [];
  #value = "";
  #active = -1; // index in #shown
  #filtered = false; // whether something was typed since the list was opened

  /** @param {{onchange: (value: string) => void, [attribute: string]: any}} options */
  constructor({ onchange, ...attributes }) {
    this.onchange = onchange;
    const listId = `sl-listbox-${++count}`;
    this.list = h("div", { id: listId, class: "sl-options", role: "listbox", "aria-labelledby": attributes["aria-labelledby"], "aria-label": attributes["aria-label"] });
    this.none = h("p", { class: "sl-hint sl-no-option", role: "status" });
    this.popup = h("div", { class: "sl-popup sl-options-popup", popover: "manual" }, this.list, this.none);
    this.popup.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus
    this.input = h("input", {
      type: "text", class: "sl-field", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": listId, ...attributes,
      oninput: () => this.#onInput(),
      onmousedown: (/** @type {MouseEvent} */ event) => this.#onMouseDown(event),
      onclick: () => this.open(),
      onblur: () => this.close(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(event),
    });
    this.element = h("div", { class: "sl-combobox" }, this.input, icon("down"), this.popup);
    addEventListener("resize", () => this.close());
    addEventListener("scroll", (event) => event.target instanceof Element && event.target.contains(this.element) && this.close(), true);
  }

  /** @param {Choice[]} choices */
  setChoices(choices) {
    if (choices === this.#choices) return;
    this.#choices = choices;
    if (this.isOpen) this.#renderOptions();
    else this.#renderText();
  }

  /** Show a value; a text that is being typed stays. @param {string} value */
  show(value) {
    this.#value = value;
    if (!this.isOpen) this.#renderText();
  }

  get isOpen() {
    return this.input.getAttribute("aria-expanded") === "true";
  }

  /** Close the list; the text is that of the chosen value again. */
  close() {
    if (this.isOpen) {
      this.input.setAttribute("aria-expanded", "false");
      this.input.removeAttribute("aria-activedescendant");
      this.popup.hidePopover();
    }
    this.#renderText();
  }

  /** Open the list, with all choices. */
  open() {
    if (this.isOpen) return;
    this.#filtered = false;
    this.input.setAttribute("aria-expanded", "true");
    this.#renderOptions();
    this.popup.style.minWidth = `${this.input.offsetWidth}px`;
    this.popup.showPopover();
    place(this.popup, this.input);
    this.#activate(this.#shown.findIndex(({ choice }) => choice.value === this.#value));
  }

  #renderText() {
    const text = this.#choices.find(({ value }) => value === this.#value)?.label ?? this.#value;
    if (this.input.value !== text) this.input.value = text;
    this.input.title = text;
  }

  #renderOptions() {
    const found = this.#filtered ? search(this.#choices, this.input.value) : this.#choices;
    this.#shown = found.map((choice) => ({ choice, element: this.#option(choice) }));
    const groups = new Map(this.#shown.map(({ choice }) => [choice.group ?? "", /** @type {HTMLElement[]} */ ([])]));
    for (const { choice, element } of this.#shown) groups.get(choice.group ?? "")?.push(element);
    setChildren(this.list, [...groups].flatMap(([name, options]) => (name ? [h("div", { role: "group", "aria-label": name }, h("div", { class: "sl-option-group", role: "presentation" }, name), options)] : options)));
    this.none.textContent = found.length ? "" : t("create.choice.none");
    this.#shown.sort((one, other) => (one.element.compareDocumentPosition(other.element) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
    this.#activate(this.#filtered && found.length ? this.#shown.findIndex(({ choice }) => choice === found[0]) : -1);
  }

  /** @param {Choice} choice */
  #option(choice) {
    return h("div", { id: `${this.list.id}-${this.#choices.indexOf(choice)}`, class: "sl-option", role: "option", "aria-selected": String(choice.value === this.#value), "aria-disabled": choice.unfit ? "true" : null, onclick: () => this.#choose(choice) },
      h("span", {}, choice.label), choice.detail ? h("span", { class: "sl-hint" }, choice.detail) : false);
  }

  /** Mark the option that Enter chooses. @param {number} index  -1: none */
  #activate(index) {
    this.#shown[this.#active]?.element.classList.remove("sl-active");
    this.#active = index;
    const element = this.#shown[index]?.element;
    element?.classList.add("sl-active");
    element?.scrollIntoView({ block: "nearest" });
    if (element) this.input.setAttribute("aria-activedescendant", element.id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {Choice} choice */
  #choose(choice) {
    if (choice.unfit) return;
    const changed = choice.value !== this.#value;
    this.#value = choice.value;
    this.close();
    this.input.select();
    if (changed) this.onchange(choice.value);
  }

  #onInput() {
    const { value } = this.input;
    this.open();
    this.input.value = value;
    this.#filtered = value.trim() !== "";
    this.#renderOptions();
    place(this.popup, this.input);
  }

  /** The press that opens the list selects the text, so that typing replaces it. @param {MouseEvent} event */
  #onMouseDown(event) {
    if (event.button !== 0 || this.isOpen) return;
    event.preventDefault(); // it would place the cursor
    this.input.focus();
    this.input.select();
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const direction = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const active = this.#shown[this.#active];
    if (direction) {
      if (!this.isOpen) this.open();
      else if (this.#shown.length) this.#activate((this.#active + direction + this.#shown.length) % this.#shown.length);
    } else if (event.key === "Enter" && this.isOpen) {
      if (active) this.#choose(active.choice);
    } else if (event.key === "Escape" && this.isOpen) {
      event.stopPropagation();
      this.close();
      this.input.select();
    } else if (event.key === "Tab" && this.isOpen) {
      return this.#filtered && active ? this.#choose(active.choice) : this.close(); // before the focus moves: an open list that scrolls would take it
    } else return;
    event.preventDefault();
  }
}

/** The choices that a text finds, those that are called so first, then those whose name begins with it. @param {Choice[]} choices @param {string} text */
export function search(choices, text) {
  const wanted = squash(text);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rank = (/** @type {Choice} */ { label, aliases = [], group = "" }) => {
    const names = [label, ...aliases];
    if (squash(label) === wanted) return -2;
    if (wanted && aliases.some((name) => squash(name) === wanted)) return -1;
    if (squash(label).startsWith(wanted)) return 0;
    if (names.some((name) => squash(name).startsWith(wanted))) return 1;
    if (names.some((name) => wanted && squash(name).includes(wanted))) return 2;
    const all = [...names, group].join(" ").toLowerCase();
    return words.every((word) => all.includes(word)) ? 3 : Infinity;
  };
  const ranked = choices.map((choice) => ({ choice, order: rank(choice) })).filter(({ order }) => order < Infinity);
  return ranked.sort((one, other) => one.order - other.order).map(({ choice }) => choice); // a stable sort
}

/** Letters and digits alone, so that dpm2m finds DPM++ 2M. @param {string} text */
const squash = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
