// The field for each kind of control.

import { h } from "../core/dom.js";
import { t } from "../core/text.js";
import { Combobox } from "./combobox.js";
import { Frame } from "./frame.js";
import { NumberField } from "./number_field.js";
import { PromptField } from "./prompt_field.js";
import { SeedField } from "./seed_field.js";

/** @typedef {import("../controls.js").FormControl} FormControl */
/** @typedef {import("../controls.js").Value} Value */
/** @typedef {import("./combobox.js").Choice} Choice */
/**
 * A field of the form. It shows the form's value and reports what the user makes of it; it holds no value of its own.
 * @typedef {object} Field
 * @property {Frame} frame
 * @property {(value: Value) => void} show
 * @property {(choices: Choice[]) => void} [setChoices]
 * @property {() => void} [commit]  let the text follow the value
 * @property {(text: string) => void} refuse  say why the value was refused; empty: it was not
 * @property {() => void} focus
 */

/**
 * @param {FormControl} control
 * @param {(value: Value) => void} onchange
 * @param {"line" | "short"} [layout]
 * @returns {Field}
 */
export function makeField(control, onchange, layout = "line") {
  if (control.control === "slider" || (control.control === "text" && control.type === "number")) return new NumberField(control, { onchange, layout });
  if (control.control === "checkbox") return new CheckField(control, onchange);
  if (control.control === "choice") return control.choices.length ? new SelectField(control, onchange) : new ChoiceField(control, onchange);
  if (/prompt$/.test(control.name)) return new PromptField(control, { onchange, rows: 1, placeholder: t(`create.${control.name}.unset`) });
  return control.type === "integer" ? new SeedField(control, onchange, layout) : new TextField(control, onchange);
}

/** A field whose frame has a single input. */
class SimpleField {
  /** @param {FormControl} control @param {HTMLElement} input */
  constructor(control, input) {
    this.frame = new Frame(control.name, control);
    this.input = input;
    input.id = this.frame.inputId;
    this.frame.fill([input]);
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.input.focus();
  }
}

class TextField extends SimpleField {
  /** @param {FormControl} control @param {(value: Value) => void} onchange */
  constructor(control, onchange) {
    const text = h("input", { type: "text", class: "sl-field", autocomplete: "off", oninput: () => onchange(text.value) });
    super(control, text);
    this.text = text;
  }

  /** @param {Value} value */
  show(value) {
    if (this.text.value !== String(value ?? "")) this.text.value = String(value ?? "");
  }
}

class CheckField extends SimpleField {
  /** @param {FormControl} control @param {(value: Value) => void} onchange */
  constructor(control, onchange) {
    const box = h("input", { type: "checkbox", class: "sl-check", onchange: () => onchange(box.checked) });
    super(control, box);
    this.box = box;
  }

  /** @param {Value} value */
  show(value) {
    this.box.checked = !!value;
  }
}

/** A few fixed choices. */
class SelectField extends SimpleField {
  /** @param {FormControl} control @param {(value: Value) => void} onchange */
  constructor(control, onchange) {
    const name = control.name.split(".").at(-1);
    const label = (/** @type {string} */ value) => {
      const key = `create.${name}.${value || "unset"}`;
      return t(key) === key ? value : t(key);
    };
    const select = h("select", { class: "sl-field", onchange: () => onchange(select.value) }, control.choices.map((value) => h("option", { value }, label(value))));
    super(control, select);
    this.select = select;
  }

  /** @param {Value} value */
  show(value) {
    this.select.value = String(value ?? "");
  }
}

/** Choices that the server knows: models, samplers. */
class ChoiceField {
  /** @param {FormControl} control @param {(value: Value) => void} onchange */
  constructor(control, onchange) {
    this.frame = new Frame(control.name, control);
    this.combobox = new Combobox({ onchange, id: this.frame.inputId, "aria-labelledby": this.frame.labelId });
    this.frame.fill([this.combobox.input], this.combobox.element);
  }

  /** @param {Value} value */
  show(value) {
    this.combobox.show(String(value ?? ""));
  }

  /** @param {Choice[]} choices */
  setChoices(choices) {
    this.combobox.setChoices(choices);
  }

  commit() {
    this.combobox.close();
  }

  /** @param {string} text */
  refuse(text) {
    this.frame.refuse(text);
  }

  focus() {
    this.combobox.input.focus();
  }
}
