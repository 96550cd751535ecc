// Ctrl+K: find every action, field and setting by its name, in the page's language and in English, and by the names that other programs use.

import { Combobox } from "../form/combobox.js";
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { activeShortcuts, registerShortcut } from "./shortcuts.js";
import { hasText, loadEnglishTexts, t } from "./text.js";

/**
 * @typedef {object} PaletteEntry
 * @property {string} [key]  of the text that names it; it is found by its English text too, and by those of alias.<key>, separated by commas
 * @property {string} [label]  what is shown; by default the text
 * @property {string} group
 * @property {string[]} [aliases]  other names that find it
 * @property {string} [detail]  such as its keys
 * @property {() => void} run
 */

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
  /** @param {Record<string, string>} english */
  const setChoices = (english) => combobox.setChoices(entries.map(({ run: _, ...entry }, index) => ({ ...entry, ...namesOf(entry, english), value: String(index) })));
  setChoices({});
  const box = dialog(t("palette.title"), combobox.element, h("p", { class: "sl-hint" }, t("palette.says")));
  box.classList.add("sl-palette");
  box.addEventListener("keydown", (event) => event.key === "Escape" && box.close(), true); // at once, not the list first
  combobox.open();
  combobox.input.focus();
  loadEnglishTexts().then(setChoices, () => {}); // without them it is found by its other names
}

/** What an entry is called. @param {Omit<PaletteEntry, "run">} entry @param {Record<string, string>} english  texts */
function namesOf({ key, label, aliases = [] }, english) {
  if (!key) return { label: label ?? "", aliases };
  const others = hasText(`alias.${key}`) ? t(`alias.${key}`).split(",").map((each) => each.trim()) : [];
  return { label: label ?? t(key), aliases: [...aliases, ...others, ...(english[key] ? [english[key]] : [])] };
}

/** The actions that have a key and are possible now. @returns {PaletteEntry[]} */
function shortcutEntries() {
  const actions = activeShortcuts().filter(({ textKey }) => textKey !== "keys.palette");
  return actions.map(({ textKey, label, aliases, handler }) => ({ key: textKey, group: t("palette.actions"), aliases, detail: label, run: handler }));
}
