// The controls for a request's fields, with their ranges and initial values: the list of ui/form_fields.py, from the page's head.

import { parse } from "./core/api.js";

/** @typedef {string | number | boolean | null} Value */
/**
 * A control, as ui/form_fields.py describes it; a limit that JavaScript cannot represent exactly is a string.
 * @typedef {{name: string, group: string, control: "slider" | "text" | "choice" | "checkbox" | "editor", initial: Value, unset: Value,
 *   by_checkpoint: boolean, type: "integer" | "number" | "boolean" | "string", minimum: number | null, maximum: number | null,
 *   limit: number | string | null, step: number | null, choices: string[], aliases: string[], label?: string, info?: string}} FormControl
 *   label, info: texts of a field that are not those of its name
 */

/** @type {FormControl[]} */
export const CONTROLS = parse(document.querySelector("#sl-fields")?.textContent ?? "[]");
/** @type {Record<string, FormControl>} */
export const CONTROLS_BY_NAME = Object.fromEntries(CONTROLS.map((control) => [control.name, control]));

/** @param {string} id  of the script with the controls @returns {Record<string, FormControl>} */
const controlsOf = (id) => Object.fromEntries(parse(document.querySelector(id)?.textContent ?? "[]").map((/** @type {FormControl} */ control) => [control.name, control]));
/** The controls for a unit of the request's control[], by name. */
export const UNIT_CONTROLS = controlsOf("#sl-unit-fields");
/** The controls for one of the request's regions, by name. */
export const REGION_CONTROLS = controlsOf("#sl-region-fields");

/** The range and the initial value of a number. @param {string} name  of its field */
export function numberControl(name) {
  const { minimum, maximum, initial } = CONTROLS_BY_NAME[name];
  return { minimum: Number(minimum), maximum: Number(maximum), initial: Number(initial) };
}
