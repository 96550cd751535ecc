// The "?" beside a field's label: it opens what the field does, and what it is called elsewhere.

import { h } from "../core/dom.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { place } from "./popup.js";

/**
 * A button and the text that it opens. The text also describes the field to screen readers, by its id.
 * @param {string} id  of the text
 * @param {{labelId: string, text: string, aliases: string[]}} field
 */
export function makeHelp(id, { labelId, text, aliases }) {
  const paragraph = h("p", {}, text);
  const popup = h("div", { id, class: "sl-popup sl-help-text", popover: "auto" }, paragraph, aliases.length > 0 && h("p", { class: "sl-hint" }, t("help.aliases", { names: aliases.join(", ") })));
  const button = h("button", { type: "button", class: "sl-help", tabindex: -1, "aria-label": t("help.title"), "aria-describedby": labelId, popovertarget: id }, "?");
  popup.addEventListener("toggle", () => popup.matches(":popover-open") && place(popup, button));
  return { button, popup, text: paragraph };
}

/** F1 opens the help of the field that has the focus; so the buttons need no place in the order of Tab. */
export function registerHelpKey() {
  const focused = () => document.activeElement?.closest(".sl-form-row")?.querySelector(".sl-help-text");
  registerShortcut("F1", "keys.help.field", () => /** @type {HTMLElement} */ (focused()).togglePopover(), { whileTyping: true, isActive: () => !!focused() });
}
