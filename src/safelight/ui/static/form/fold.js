// A part of the form that unfolds: it remembers whether it is open, and says how many of its fields are not at their defaults.

import { h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

const STORAGE_KEY = "safelight.folds";

export class Fold {
  #onopen = () => {};

  /**
   * @param {string} name  its element's id is sl-fold-<name>
   * @param {string} title
   */
  constructor(name, title) {
    this.name = name;
    const id = `sl-fold-${name}`;
    this.count = h("span", { class: "sl-fold-count" });
    this.button = h("button", { type: "button", class: "sl-fold-button", "aria-expanded": "false", "aria-controls": `${id}-content`, onclick: () => this.set(!this.open) }, icon("right"), h("span", {}, title), this.count);
    this.content = h("div", { id: `${id}-content`, class: "sl-fold-content", hidden: true });
    this.element = h("section", { id, class: "sl-fold", "aria-label": title }, this.button, this.content);
    if (readOpen().includes(name)) this.set(true);
  }

  /** Call a function when it is open: now, or when it is opened first. @param {() => void} then */
  whenOpen(then) {
    if (this.open) then();
    else this.#onopen = then;
  }

  get open() {
    return !this.content.hidden;
  }

  /** Open or close it. @param {boolean} open */
  set(open) {
    this.content.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) {
      this.#onopen();
      this.#onopen = () => {};
    }
    const others = readOpen().filter((name) => name !== this.name);
    localStorage.setItem(STORAGE_KEY, JSON.stringify(open ? [...others, this.name] : others));
  }

  /** @param {number} n  of its fields that are not at their defaults @param {string} [key]  of the text, for another number */
  showCount(n, key = "create.fold.changed") {
    this.count.textContent = n ? t(key, { n }) : "";
  }
}

/** Names of the folds that are open. @returns {string[]} */
function readOpen() {
  try {
    const names = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]");
    return Array.isArray(names) ? names : [];
  } catch {
    return [];
  }
}
