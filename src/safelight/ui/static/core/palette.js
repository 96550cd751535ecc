// Ctrl+K: find every field and every action by its name, also by the names that other programs use.

import { Combobox } from "../form/combobox.js";
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { activeShortcuts, registerShortcut } from "./shortcuts.js";
import { t } from "./text.js";

/** @typedef {{label: string, group: string, aliases?: string[], detail?: string, run: () => void}} PaletteEntry  aliases: other names that find it */

/** @type {Set<() => PaletteEntry[]>} */
const sources = new Set();

/** Let the palette find more. @param {() => PaletteEntry[]} source  called whenever the palette is opened */
export function registerEntries(source) {
  sources.add(source);
}

/** Register the palette's key. */
export function startPalette() {
  registerShortcut("Ctrl+k", "keys.palette", openPalette, { whileTyping: true, isActive: () => !document.querySelector("dialog[open]") });
}

export function openPalette() {
  const entries = [...[...sources].flatMap((source) => source()), ...shortcutEntries()];
  const combobox = new Combobox({
    "aria-label": t("palette.title"),
    placeholder: t("palette.example"),
    onchange: (value) => {
      box.close();
      entries[Number(value)].run();
    },
  });
  combobox.setChoices(entries.map(({ run: _, ...entry }, index) => ({ ...entry, value: String(index) })));
  const box = dialog(t("palette.title"), combobox.element, h("p", { class: "sl-hint" }, t("palette.says")));
  box.classList.add("sl-palette");
  combobox.open();
  combobox.input.focus();
}

/** The actions that have a key and are possible now. @returns {PaletteEntry[]} */
function shortcutEntries() {
  const actions = activeShortcuts().filter(({ textKey }) => textKey !== "keys.palette");
  return actions.map(({ textKey, label, aliases, handler }) => ({ label: t(textKey), group: t("palette.actions"), aliases, detail: label, run: handler }));
}
