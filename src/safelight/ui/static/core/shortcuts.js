// Keyboard shortcuts; "?" lists them.

import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { t } from "./text.js";

/** @typedef {{keys: string, textKey: string, handler: (event: KeyboardEvent) => void, whileTyping?: boolean, isActive?: () => boolean, aliases?: string[]}} Shortcut */

const MAY_REPEAT = /^(Arrow\w+|[+-])$/;
const IS_LETTER = /\p{Letter}/u; // other characters, such as "?", need Shift on some keyboards and not on others

/** @type {Shortcut[]} */
const shortcuts = [];

/**
 * Register a shortcut.
 * @param {string} keys  as shown and pressed: "?", "g", "Shift+v", "Ctrl+Enter", "ArrowLeft"
 * @param {string} textKey  key of the text that describes it
 * @param {(event: KeyboardEvent) => void} handler
 * @param {{whileTyping?: boolean, isActive?: () => boolean, aliases?: string[]}} [options]  whileTyping: also while a text field has
 *   the focus; isActive: whether the shortcut applies now; aliases: other names by which it is found
 */
export function registerShortcut(keys, textKey, handler, options = {}) {
  shortcuts.push({ keys, textKey, handler, ...options });
}

/** Start to listen for key presses. */
export function startShortcuts() {
  registerShortcut("?", "keys.help", showShortcuts);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.repeat && !MAY_REPEAT.test(event.key)) return; // holding Delete must delete one picture, not all
    const match = shortcuts.find(
      ({ keys, whileTyping, isActive = () => true }) => keys === combinationOf(event) && (whileTyping || !isTyping(event)) && isActive(),
    );
    if (!match) return;
    event.preventDefault();
    match.handler(event);
  });
}

/** The shortcuts that apply now, with their keys as a text. @returns {{textKey: string, label: string, aliases: string[], handler: () => void}[]} */
export function activeShortcuts() {
  const unique = new Map(shortcuts.filter(({ isActive = () => true }) => isActive()).map((each) => [each.textKey, each]));
  return [...unique.values()].map(({ textKey, keys, aliases = [], handler }) => ({
    textKey, aliases, label: keysOf(keys).map(keyLabel).join(" + "), handler: () => handler(new KeyboardEvent("keydown")),
  }));
}

/** Show all shortcuts in a dialog. */
export function showShortcuts() {
  const unique = new Map(shortcuts.map(({ keys, textKey }) => [`${keys} ${textKey}`, { keys, textKey }]));
  const rows = [...unique.values()].map(({ keys, textKey }) =>
    h("tr", {}, h("td", {}, ...keysOf(keys).map((key) => h("kbd", {}, keyLabel(key)))), h("td", {}, t(textKey))),
  );
  dialog(t("keys.title"), h("table", { class: "sl-keys" }, h("tbody", {}, rows)));
}

/** The keys of a combination. @param {string} keys */
const keysOf = (keys) => keys.split(/(?<=.)\+/);

/** @param {KeyboardEvent} event */
function combinationOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", event.shiftKey && (key.length > 1 || IS_LETTER.test(key)) ? "Shift" : "", key]
    .filter(Boolean)
    .join("+");
}

/** Whether a key is pressed in a field for text. @param {KeyboardEvent} event */
export function isTyping(event) {
  const target = event.target instanceof HTMLElement ? event.target : null;
  return !!target?.closest("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable=true], [role=listbox]");
}

/** A key's name as printed on keyboards of the user's language. @param {string} key */
function keyLabel(key) {
  const arrow = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" }[key];
  if (arrow) return arrow;
  return key.length === 1 ? key.toUpperCase() : t(`key.${key}`);
}
