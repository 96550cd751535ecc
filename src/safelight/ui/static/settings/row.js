// A setting as a row: its title, what it does, its control, where its value is stored, and what happened to a change.

import { ApiError } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { errorWithHint } from "../core/error_text.js";
import { t } from "../core/text.js";

/**
 * @typedef {object} RowParts
 * @property {string} name  unique on the page, for ids
 * @property {string} title
 * @property {string} description
 * @property {HTMLElement | null} control  gets the row's title and description as its accessible name and description
 * @property {string} stored  where the value is stored
 * @property {(HTMLElement | null | false)[]} [buttons]
 */

/** @param {RowParts} parts */
export function settingRow({ name, title, description, control, stored, buttons = [] }) {
  const id = `sl-setting-${name}`;
  const problem = h("p", { class: "sl-field-problem", id: `${id}-problem` });
  const saved = h("p", { class: "sl-settings-saved", role: "status" });
  const place = h("p", { class: "sl-settings-stored" }, stored);
  const field = () => (control?.matches("input, select") ? control : control?.querySelector("input, select"));

  /** Give the control its name and description; call it again when it has been replaced. */
  function label() {
    const several = control?.querySelector(".sl-settings-several");
    const labelled = several ?? field();
    if (several) several.setAttribute("role", "group");
    labelled?.setAttribute("aria-labelledby", `${id}-title`);
    labelled?.setAttribute("aria-describedby", `${id}-about ${id}-problem`);
  }
  label();
  const element = h("div", { class: "sl-settings-row", "data-setting": name },
    h("div", { class: "sl-settings-text" }, h("h4", { id: `${id}-title` }, title), h("p", { id: `${id}-about`, class: "sl-hint" }, description), place),
    h("div", { class: "sl-settings-control" }, control, problem, saved, buttons));

  /**
   * Make a change: the row says that it is saved, with a button to undo it, or why it was refused.
   * @param {() => Promise<unknown>} change
   * @param {() => Promise<unknown>} undo
   */
  async function run(change, undo) {
    setChildren(problem);
    setChildren(saved);
    field()?.removeAttribute("aria-invalid");
    try {
      await change();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.textContent = error.code === "page.offline" ? t("error.offline") : errorWithHint(error);
      field()?.setAttribute("aria-invalid", "true");
      return;
    }
    setChildren(saved, h("span", {}, t("settings.saved")), button({
      icon: "undo", label: t("undo"), kind: "quiet", "aria-label": t("settings.undo", { name: title }),
      onclick: () => run(undo, change) }));
  }
  return { element, place, run, label };
}

/** A list to choose from. @param {[string, string][]} options  values and texts @param {string} value @param {(value: string) => void} onchange */
export function choice(options, value, onchange) {
  const select = h("select", { class: "sl-field", onchange: () => onchange(select.value) }, options.map(([name, text]) => h("option", { value: name, selected: name === value }, text)));
  return select;
}

/** A switch. @param {boolean} value @param {(value: boolean) => void} onchange */
export function toggle(value, onchange) {
  const input = h("input", { type: "checkbox", role: "switch", class: "sl-settings-switch", checked: value, onchange: () => onchange(input.checked) });
  return input;
}
