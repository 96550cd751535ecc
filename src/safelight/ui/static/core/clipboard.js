// Text into the clipboard, also over plain HTTP, where browsers give pages none of their own.

import { h } from "./dom.js";

/**
 * Copy a text, soon after somebody has asked for it.
 * @param {string} text
 * @throws {Error}  The browser lets nothing into the clipboard.
 */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const field = h("textarea", { class: "sl-hidden", readonly: true, value: text });
  const parent = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body; // what a dialog covers can have no focus
  parent.append(field);
  field.focus({ preventScroll: true });
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  if (!copied) throw new Error("This browser lets nothing into the clipboard.");
}
