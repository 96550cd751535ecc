// A small box beside a button or at a point, above everything else; a press outside or Escape closes it.

import { button, h } from "./dom.js";
import { t } from "./text.js";

/** @typedef {HTMLElement | {x: number, y: number}} Place  the element beside which a popover is shown, or a point in the window, in CSS pixels */
/** @typedef {{icon?: Parameters<typeof button>[0]["icon"], label: string, keys?: string, disabled?: boolean, run: () => unknown}} MenuItem  keys: its shortcut */

const GAP = 6, MARGIN = 8; // CSS pixels between a popover and its element, and to the window's edge

/** @type {Popover | null} */
let current = null;

/**
 * Show a popover, in place of another one; the focus moves into it. The same element's popover is closed instead.
 * @param {Place} place
 * @param {string} label
 * @param {HTMLElement[]} content
 * @param {"dialog" | "menu"} [role]
 * @returns {Popover | null}  null: it was open, and is closed now
 */
export function openPopover(place, label, content, role = "dialog") {
  const same = current?.place === place;
  current?.close();
  return same ? null : (current = new Popover(place, label, content, role));
}

/**
 * Show a menu of commands.
 * @param {Place} place
 * @param {string} label
 * @param {MenuItem[]} items
 */
export function openMenu(place, label, items) {
  const buttons = items.map(({ icon, label: name, keys, disabled, run }) => {
    const item = button({ icon, label: name, class: "sl-button sl-quiet sl-menu-item", role: "menuitem", tabindex: -1, disabled, "aria-keyshortcuts": keys, onclick: () => (menu?.close(), void run()) });
    if (keys) item.append(h("kbd", { "aria-hidden": "true" }, keyName(keys)));
    return item;
  });
  const menu = openPopover(place, label, buttons, "menu");
  menu?.box.addEventListener("keydown", (event) => {
    const enabled = buttons.filter(({ disabled }) => !disabled);
    const at = enabled.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const next = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    enabled.at(next % enabled.length)?.focus();
  });
}

class Popover {
  #controller = new AbortController();
  #previousFocus = document.activeElement;

  /** @param {Place} place @param {string} label @param {HTMLElement[]} content @param {"dialog" | "menu"} role */
  constructor(place, label, content, role) {
    this.place = place;
    this.box = h("div", { class: "sl-popover", role, "aria-label": label, popover: "manual", tabindex: -1 }, content);
    document.body.append(this.box);
    this.box.showPopover();
    this.#position();
    this.#setExpanded(true);
    const { signal } = this.#controller;
    addEventListener("pointerdown", (event) => this.#isOutside(event.target) && this.close(false), { capture: true, signal });
    addEventListener("resize", () => this.close(), { signal });
    this.box.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && this.#isOutside(relatedTarget) && this.close(false));
    this.box.addEventListener("keydown", (event) => this.#onKeyDown(event));
    const first = /** @type {HTMLElement | null} */ (this.box.querySelector(":checked, [autofocus], button:not(:disabled)"));
    (first ?? this.box).focus({ preventScroll: true });
  }

  /** @param {boolean} [restoreFocus] */
  close(restoreFocus = true) {
    if (current !== this) return;
    current = null;
    this.#controller.abort();
    this.#setExpanded(false);
    this.box.remove();
    if (restoreFocus && this.#previousFocus instanceof HTMLElement && this.#previousFocus.isConnected) this.#previousFocus.focus({ preventScroll: true });
  }

  /** No key pressed in it reaches the page's shortcuts. @param {KeyboardEvent} event */
  #onKeyDown(event) {
    event.stopPropagation();
    if (event.key !== "Escape" && !(event.key === "Tab" && this.box.role === "menu")) return;
    event.preventDefault();
    this.close();
  }

  /** @param {EventTarget | null} target */
  #isOutside(target) {
    const inside = (/** @type {HTMLElement} */ element) => target instanceof Node && element.contains(target);
    return !inside(this.box) && !(this.place instanceof HTMLElement && inside(this.place)); // a press on its button closes it by that button's click
  }

  /** @param {boolean} expanded */
  #setExpanded(expanded) {
    if (this.place instanceof HTMLElement && this.place.ariaHasPopup) this.place.setAttribute("aria-expanded", String(expanded));
  }

  /** Below the element or point if there is space, else above it; always inside the window. */
  #position() {
    const { left, right, top, bottom } = this.place instanceof HTMLElement ? this.place.getBoundingClientRect() : new DOMRect(this.place.x, this.place.y);
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const below = bottom + GAP, above = top - GAP - height;
    const fitsBelow = below + height <= innerHeight - MARGIN;
    const y = fitsBelow || above < MARGIN ? Math.max(MARGIN, Math.min(below, innerHeight - height - MARGIN)) : above;
    const x = left + width <= innerWidth - MARGIN ? left : right - width;
    this.box.style.left = `${Math.max(MARGIN, Math.min(x, innerWidth - width - MARGIN))}px`;
    this.box.style.top = `${y}px`;
  }
}

/** A shortcut as printed on keyboards. @param {string} keys */
const keyName = (keys) => keys.split("+").map((key) => (key.length === 1 ? key.toUpperCase() : t(`key.${key}`))).join(" ");
