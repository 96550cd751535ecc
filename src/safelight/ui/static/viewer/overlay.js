// A dialog over the whole window. Everything else becomes inert except for toasts: below a modal dialog of the browser, the
// "undo" of a deleted picture could not be clicked.

import { h } from "../core/dom.js";

/** @type {Overlay[]} */
const stack = [];

export class Overlay {
  /** @type {Element[]} */
  #inerted = []; // elements that this overlay made inert
  /** @type {Element | null} */
  #previousFocus = null;

  /**
   * @param {string} name  CSS class
   * @param {string} label
   * @param {{onclose?: () => void, focus?: () => HTMLElement | null}} [options]  focus: returns the element to focus after closing;
   *   by default the one that was focused before
   */
  constructor(name, label, { onclose, focus } = {}) {
    this.box = h("dialog", { class: `sl-overlay ${name}`, "aria-label": label, "aria-modal": "true", tabindex: "-1" });
    this.onclose = onclose;
    this.focus = focus;
  }

  /** Whether it is the topmost dialog. */
  get isTop() {
    return stack.at(-1) === this && !document.querySelector("dialog:modal");
  }

  /** Show it and move the focus into it. */
  open() {
    this.#previousFocus = document.activeElement;
    for (const other of document.body.children) {
      if (other.hasAttribute("inert") || other.matches(".sl-toasts, script, style")) continue;
      other.setAttribute("inert", "");
      this.#inerted.push(other);
    }
    document.documentElement.classList.add("sl-no-scroll");
    document.body.append(this.box);
    stack.push(this);
    this.box.show();
    this.box.focus({ preventScroll: true });
  }

  /** Remove it and restore the focus. */
  close() {
    const at = stack.indexOf(this);
    if (at < 0) return;
    stack.splice(at, 1);
    for (const other of this.#inerted.splice(0)) other.removeAttribute("inert");
    if (!stack.length) document.documentElement.classList.remove("sl-no-scroll");
    this.box.remove();
    const next = this.focus?.() ?? this.#previousFocus;
    if (next instanceof HTMLElement && next.isConnected) next.focus({ preventScroll: true });
    this.onclose?.();
  }

  /** Keep the focus inside after the focused element was removed. */
  keepFocus() {
    if (this.isTop && !this.box.contains(document.activeElement) && !document.activeElement?.closest("[popover]")) this.box.focus({ preventScroll: true });
  }
}

/** Close all, the topmost first. */
export function closeOverlays() {
  for (const overlay of [...stack].reverse()) overlay.close();
}

/** Whether no dialog is open. */
export const noDialogOpen = () => !stack.length && !document.querySelector("dialog[open]");
