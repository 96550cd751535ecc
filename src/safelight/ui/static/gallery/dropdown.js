// A button that shows a box below itself; Escape and a press elsewhere close it.

import { button, h } from "../core/dom.js";

export class Dropdown {
  /**
   * @param {{icon?: any, label: string, iconOnly?: boolean, class?: string, onopen?: () => void}} options  onopen: called before the box is shown
   * @param {...(Node | string)} content
   */
  constructor({ onopen, class: name = "", ...options }, ...content) {
    this.onopen = onopen;
    this.button = button({ ...options, "aria-expanded": "false", onclick: () => this.toggle() });
    this.box = h("div", { class: "sl-dropdown-box", role: "group", "aria-label": options.label, hidden: true }, ...content);
    this.element = h("div", { class: `sl-dropdown ${name}`, onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(event) }, this.button, this.box);
    addEventListener("pointerdown", ({ target }) => this.isOpen && target instanceof Node && !this.element.contains(target) && !(target instanceof Element && target.closest("dialog")) && this.toggle(false));
  }

  get isOpen() {
    return !this.box.hidden;
  }

  /** Open or close it. @param {boolean} [open] */
  toggle(open = !this.isOpen) {
    if (open) this.onopen?.();
    this.box.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.box.style.left = "0";
    const { left, right } = this.box.getBoundingClientRect();
    const beyond = right - document.documentElement.clientWidth + 12;
    if (beyond > 0) this.box.style.left = `${-Math.min(beyond, left - 12)}px`;
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.key !== "Escape" || !this.isOpen) return;
    event.preventDefault(); // other shortcuts of Escape
    this.toggle(false);
    this.button.focus();
  }
}
