// Copy text to the clipboard, also over plain HTTP, where browsers hide navigator.clipboard.

import { h } from "./dom.js";

/**
 * Copy text; call it from a user's click or key press.
 * @param {string} text
 * @throws {Error}  The browser refused access to the clipboard.
 */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const field = h("textarea", { class: "sl-hidden", readonly: true, value: text });
  const parent = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body; // an element outside an open modal dialog cannot be focused
  parent.append(field);
  field.focus({ preventScroll: true });
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  if (!copied) throw new Error("This browser lets nothing into the clipboard.");
}
