// Keyboard shortcuts: registered by what they do, shown by "?".

import { button, h } from "./dom.js";
import { t } from "./text.js";

/** @typedef {{keys: string, says: string, run: (event: KeyboardEvent) => void, typing?: boolean, when?: () => boolean}} Shortcut */

const MAY_REPEAT = /^(Arrow\w+|[+-])$/;

/** @type {Shortcut[]} */
const shortcuts = [];

/**
 * Register a shortcut.
 * @param {string} keys  as shown and pressed: "?", "g", "Ctrl+Enter", "ArrowLeft"
 * @param {string} says  key of the catalogue that says what it does
 * @param {(event: KeyboardEvent) => void} run
 * @param {{typing?: boolean, when?: () => boolean}} [options]  typing: also while a field has the focus; when: only then
 */
export function shortcut(keys, says, run, options = {}) {
  shortcuts.push({ keys, says, run, ...options });
}

/** Listen, from now on. */
export function listenToKeys() {
  shortcut("?", "keys.help", showHelp);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.repeat && !MAY_REPEAT.test(event.key)) return; // a key that is held deletes one picture, not all
    const found = shortcuts.find(
      ({ keys, typing, when = () => true }) => keys === pressed(event) && (typing || !isTyping(event)) && when(),
    );
    if (!found) return;
    event.preventDefault();
    found.run(event);
  });
}

/** All shortcuts in a dialog. */
export function showHelp() {
  const known = new Map(shortcuts.map(({ keys, says }) => [`${keys} ${says}`, { keys, says }]));
  const rows = [...known.values()].map(({ keys, says }) =>
    h("tr", {}, h("td", {}, ...keys.split(/(?<=.)\+/).map((key) => h("kbd", {}, shown(key)))), h("td", {}, t(says))),
  );
  dialog(t("keys.title"), h("table", { class: "sl-keys" }, h("tbody", {}, rows)));
}

/**
 * A dialog over the page, closed by Escape, its button or a press beside it.
 * @param {string} title
 * @param {...(Node | string)} content
 * @returns {HTMLDialogElement}
 */
export function dialog(title, ...content) {
  const box = h(
    "dialog",
    { class: "sl-dialog", "aria-label": title, onclose: () => box.remove() },
    h("header", {}, h("h2", {}, title), button({ icon: "close", label: t("close"), bare: true, onclick: () => box.close() })),
    ...content,
  );
  let outside = false;
  box.addEventListener("pointerdown", (event) => (outside = isBeside(box, event)));
  box.addEventListener("click", (event) => outside && isBeside(box, event) && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Whether a press lies beside a dialog, on what is behind it. @param {HTMLElement} box @param {MouseEvent} event */
function isBeside(box, { clientX, clientY }) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return clientX < left || clientX > right || clientY < top || clientY > bottom;
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", event.shiftKey && key.length > 1 ? "Shift" : "", key]
    .filter(Boolean)
    .join("+");
}

/** @param {KeyboardEvent} event */
function isTyping(event) {
  const target = event.target instanceof HTMLElement ? event.target : null;
  return !!target?.closest("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable=true], [role=listbox]");
}

/** A key as it is written on keyboards of the page's language. @param {string} key */
function shown(key) {
  const arrow = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" }[key];
  if (arrow) return arrow;
  return key.length === 1 ? key.toUpperCase() : t(`key.${key}`);
}
