// What every field of the form has around its control: a label, help behind "?", and below it notes and refusals.

import { h, setChildren } from "../core/dom.js";
import { t } from "../core/text.js";
import { makeHelp } from "./help.js";

/** The id of a field's element. @param {string} name  the field's path */
const fieldId = (name) => `sl-${name.replace(/[_.]/g, "-")}`;

export class Frame {
  /** @type {HTMLElement[]} */
  #inputs = [];

  /**
   * @param {string} name  the field's path, or another name for several fields
   * @param {{aliases?: string[], layout?: "line" | "stacked" | "short", label?: string, info?: string}} [options]
   *   layout: the label beside the control, above it, or beside it and only as wide as it is; label, info: by default those of the name
   */
  constructor(name, { aliases = [], layout = "line", label = t(`create.${name}`), info = t(`create.${name}.info`) } = {}) {
    const id = fieldId(name);
    const help = makeHelp(`${id}-help`, { labelId: `${id}-label`, text: info, aliases });
    this.id = id;
    this.inputId = `${id}-input`;
    this.labelId = `${id}-label`;
    this.helpId = help.popup.id;
    this.help = help.text;
    this.label = h("label", { id: this.labelId, for: this.inputId }, label);
    this.head = h("div", { class: "sl-form-label" }, this.label, help.button);
    this.control = h("div", { class: "sl-form-control" });
    this.noteElement = h("p", { class: "sl-form-note", id: `${id}-note`, role: "status" });
    this.refusal = h("p", { class: "sl-form-refusal", id: `${id}-refusal`, hidden: true });
    this.element = h("div", { id, class: `sl-form-row sl-form-${layout}` }, this.head, this.control, this.refusal, this.noteElement, help.popup);
  }

  /** Put the control in, and connect its inputs with the texts around them. @param {HTMLElement[]} inputs @param {...(Node | false)} content  by default the inputs */
  fill(inputs, ...content) {
    this.#inputs = inputs;
    setChildren(this.control, content.length ? content : inputs);
    for (const input of inputs) input.setAttribute("aria-describedby", `${this.helpId} ${this.noteElement.id}`);
  }

  /** Say something about the value below the control. @param {string} text  empty: nothing */
  note(text) {
    if (this.noteElement.textContent !== text) this.noteElement.textContent = text;
  }

  /**
   * Say why the value was refused.
   * @param {string} text  empty: it is not refused
   * @param {HTMLElement[]} [inputs]  those that it is about; by default all
   */
  refuse(text, inputs = this.#inputs) {
    this.refusal.hidden = !text;
    this.refusal.textContent = text;
    for (const input of this.#inputs) {
      const refused = !!text && inputs.includes(input);
      input.toggleAttribute("aria-invalid", false);
      if (refused) input.setAttribute("aria-invalid", "true");
      if (refused) input.setAttribute("aria-errormessage", this.refusal.id);
      else input.removeAttribute("aria-errormessage");
      input.setAttribute("aria-describedby", `${refused ? `${this.refusal.id} ` : ""}${this.helpId} ${this.noteElement.id}`);
    }
  }
}
