// A dialog over the whole window. What lies beneath cannot be reached, except for the notes at the page's edge: a modal
// dialog of the browser's would keep the "undo" of a deleted picture out of reach.

import { h } from "../core/dom.js";

/** @type {Overlay[]} */
const stack = [];

export class Overlay {
  /** @type {Element[]} */
  #inerted = []; // what this one made inert
  /** @type {Element | null} */
  #previousFocus = null;

  /**
   * @param {string} name  its class
   * @param {string} label
   * @param {{onclose?: () => void, focus?: () => HTMLElement | null}} [options]  focus: where the focus goes afterwards, if not
   *   where it was before
   */
  constructor(name, label, { onclose, focus } = {}) {
    this.box = h("dialog", { class: `sl-overlay ${name}`, "aria-label": label, "aria-modal": "true", tabindex: "-1" });
    this.onclose = onclose;
    this.focus = focus;
  }

  /** Whether it is the uppermost thing on the page. */
  get isTop() {
    return stack.at(-1) === this && !document.querySelector("dialog:modal");
  }

  /** Show it; the focus goes into it. */
  open() {
    this.#previousFocus = document.activeElement;
    for (const other of document.body.children) {
      if (other.hasAttribute("inert") || other.matches(".sl-toasts, script, style")) continue;
      other.setAttribute("inert", "");
      this.#inerted.push(other);
    }
    document.documentElement.classList.add("sl-still");
    document.body.append(this.box);
    stack.push(this);
    this.box.show();
    this.box.focus({ preventScroll: true });
  }

  /** Take it away; the focus goes back. */
  close() {
    const at = stack.indexOf(this);
    if (at < 0) return;
    stack.splice(at, 1);
    for (const other of this.#inerted.splice(0)) other.removeAttribute("inert");
    if (!stack.length) document.documentElement.classList.remove("sl-still");
    this.box.remove();
    const next = this.focus?.() ?? this.#previousFocus;
    if (next instanceof HTMLElement && next.isConnected) next.focus({ preventScroll: true });
    this.onclose?.();
  }

  /** Keep the focus inside after what had it has gone. */
  keepFocus() {
    if (this.isTop && !this.box.contains(document.activeElement)) this.box.focus({ preventScroll: true });
  }
}

/** Whether no dialog of any kind lies over the page. */
export const noDialogOpen = () => !stack.length && !document.querySelector("dialog[open]");
