// The controls for a request's fields, with their ranges and initial values: the list of ui/form_fields.py, from the page's head.

/** @typedef {string | number | boolean | null} Value */
/** @typedef {{name: string, group: string, control: string, initial: Value, unset: Value, by_checkpoint: boolean, numeric: boolean, minimum: number | null, maximum: number | null}} FormControl */

/** @type {FormControl[]} */
export const CONTROLS = JSON.parse(document.querySelector("#sl-fields")?.textContent ?? "[]");
/** @type {Record<string, FormControl>} */
export const CONTROLS_BY_NAME = Object.fromEntries(CONTROLS.map((control) => [control.name, control]));

/** The range and the initial value of a number. @param {string} name  of its field */
export function numberControl(name) {
  const { minimum, maximum, initial } = CONTROLS_BY_NAME[name];
  return { minimum: Number(minimum), maximum: Number(maximum), initial: Number(initial) };
}
