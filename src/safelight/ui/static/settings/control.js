// The control of a setting, by its type, range and choices.

import { h } from "../core/dom.js";
import { formatBytes, formatDuration, hasText, LANGUAGES, t } from "../core/text.js";
import { choice, toggle } from "./row.js";

/** @typedef {import("../types").Setting} Setting */

const DAY = 86_400; // seconds

/**
 * A control, or null for a setting that has none; and a text that says its number in a unit.
 * @param {Setting} setting
 * @param {(value: any) => void} onchange
 * @returns {HTMLElement | null}
 */
export function controlFor(setting, onchange) {
  const { name, value, rules, choices, changeable } = setting;
  const control = makeControl();
  if (control && !changeable) for (const each of [control, ...control.querySelectorAll("*")]) if (each.matches("input, select")) each.setAttribute("disabled", "");
  return control;

  /** @returns {HTMLElement | null} */
  function makeControl() {
    if (rules.type === "boolean") return toggle(value, onchange);
    if (rules.type === "array" && choices) return several(choices, value, onchange);
    const names = choices ?? rules.enum;
    if (names) return choice(names.map((/** @type {string} */ each) => [each, hasText(`settings.${name}.${each}`) ? t(`settings.${name}.${each}`) : each]), value, onchange);
    if (rules.type === "integer" || rules.type === "number") return number(setting, onchange);
    if (rules.type === "string") return text(value, onchange);
    return null;
  }
}

/** Check boxes; with none of them, all are meant. @param {string[]} choices @param {string[]} value @param {(value: string[]) => void} onchange */
function several(choices, value, onchange) {
  const boxes = choices.map((name) => h("input", { type: "checkbox", value: name, checked: value.length === 0 || value.includes(name) }));
  return h("div", { class: "sl-settings-several", onchange: () => {
    const chosen = boxes.filter(({ checked }) => checked).map((box) => box.value);
    onchange(chosen.length === choices.length ? [] : chosen);
  } }, boxes.map((box) => h("label", {}, box, LANGUAGES[box.value] ?? t(`settings.language.${box.value}`))));
}

/** @param {Setting} setting @param {(value: any) => void} onchange */
function number({ name, value, rules }, onchange) {
  const said = h("output", { class: "sl-settings-unit" });
  const input = h("input", {
    class: "sl-field", type: "number", inputmode: rules.type === "integer" ? "numeric" : "decimal", step: rules.type === "integer" ? 1 : "any",
    min: rules.minimum ?? rules.exclusiveMinimum, max: rules.maximum, value: String(value),
    oninput: () => (said.textContent = inUnit(name, Number(input.value))),
    onchange: () => input.value.trim() !== "" && onchange(Number(input.value)),
  });
  said.textContent = inUnit(name, value);
  return h("div", { class: "sl-settings-number" }, input, said);
}

/** @param {string} value @param {(value: string) => void} onchange */
function text(value, onchange) {
  const input = h("input", { class: "sl-field", type: "text", value, autocomplete: "off", spellcheck: "false", onchange: () => onchange(input.value) });
  return input;
}

/** A number in a unit that people read; empty for plain numbers. @param {string} name @param {number} value */
function inUnit(name, value) {
  if (!Number.isFinite(value)) return "";
  if (/bytes/.test(name)) return formatBytes(value);
  if (/_seconds$|_retention$/.test(name)) return value === 0 ? t("settings.for_ever") : value >= 2 * DAY ? t("settings.days", { n: Math.round(value / DAY) }) : formatDuration(value);
  if (/pixels$/.test(name)) return t("settings.megapixels", { n: value / 1e6 });
  return "";
}

/** A value as a text. @param {Setting} setting @param {any} value */
export function shownValue({ name }, value) {
  if (typeof value === "boolean") return t(value ? "settings.on" : "settings.off");
  if (typeof value === "number") return [String(value), inUnit(name, value)].filter(Boolean).join(" · ");
  if (Array.isArray(value)) return value.length ? value.join(", ") : t(name === "languages" ? "settings.all" : "settings.none");
  if (value && typeof value === "object") return Object.keys(value).length ? JSON.stringify(value) : t("settings.none");
  return value === null || value === "" ? t("settings.none") : String(value);
}
