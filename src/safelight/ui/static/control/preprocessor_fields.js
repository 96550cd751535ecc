// The fields of a unit's preprocessor: which one, its parameters as the server describes them, and the size of the map.

import { h, setChildren } from "../core/dom.js";
import { serverText } from "../core/server_text.js";
import { t } from "../core/text.js";
import { makeField } from "../form/fields.js";
import { Frame } from "../form/frame.js";
import { NumberField } from "../form/number_field.js";
import { parameterLabel, preprocessorLabel } from "./catalogue.js";

/** @typedef {import("../form/fields.js").Field} Field */
/** @typedef {import("../controls.js").Value} Value */
/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Parameter} Parameter */
/** @typedef {import("./units.js").Unit} Unit */

const MAX_SLIDER_RANGE = 10_000; // a longer one is typed
const MIN_RESOLUTION = 64, MAX_RESOLUTION = 2048; // pixels, as the server has them

export class PreprocessorFields {
  /** The fields of the parameters, by name. @type {Map<string, Field>} */
  #fields = new Map();
  #shown = ""; // what they are made of
  #choices = "";

  /** @param {string} prefix  of the names of fields @param {Catalogue} catalogue @param {(changes: import("./units.js").UnitChanges) => void} onchange */
  constructor(prefix, catalogue, onchange) {
    this.prefix = prefix;
    this.catalogue = catalogue;
    this.onchange = onchange;
    this.frame = new Frame(`${prefix}.preprocessor`, { label: t("control.preprocessor"), info: t("control.preprocessor.info"), aliases: ["annotator", "module"] });
    this.select = h("select", { id: this.frame.inputId, class: "sl-field", onchange: () => onchange({ preprocessor: this.select.value }) });
    this.frame.fill([this.select]);
    this.parameters = h("div", { class: "sl-unit-parameters" });
    const control = { name: `${prefix}.resolution`, group: "control", control: /** @type {const} */ ("text"), type: /** @type {const} */ ("integer"), initial: "", unset: "", by_checkpoint: false,
      minimum: MIN_RESOLUTION, maximum: MAX_RESOLUTION, limit: MAX_RESOLUTION, step: 64, choices: [], aliases: ["processor res", "pixel perfect"], label: t("control.resolution"), info: t("control.resolution.info") };
    this.resolution = new NumberField(control, { onchange: (value) => onchange({ resolution: value ? Number(value) : null }) });
    this.resolution.number.input.placeholder = t("control.resolution.fitting");
    this.element = h("div", { class: "sl-unit-fields" }, this.frame.element, this.parameters, this.resolution.frame.element);
  }

  /** @param {Unit} unit */
  update(unit) {
    this.#renderChoices(unit.kind);
    this.select.value = unit.preprocessor;
    if (this.select.value !== unit.preprocessor) this.select.append(h("option", { value: unit.preprocessor, selected: true }, unit.preprocessor)); // one that the server no longer has
    const parameters = this.catalogue.preprocessor(unit.preprocessor)?.parameters ?? [];
    const key = `${unit.preprocessor} ${parameters.length}`;
    if (key !== this.#shown) this.#makeFields(unit.preprocessor, parameters);
    this.#shown = key;
    this.current = unit;
    const changed = unit.parameters[unit.preprocessor] ?? {};
    for (const each of parameters) this.#fields.get(each.name)?.show(changed[each.name] ?? each.default);
    this.resolution.frame.element.hidden = !unit.preprocessor;
    this.resolution.show(unit.resolution ?? "");
  }

  /**
   * Say why values were refused.
   * @param {Map<string, string>} refusals  texts by field: name, resolution, parameters.NAME
   */
  refuse(refusals) {
    this.frame.refuse(refusals.get("name") ?? refusals.get("parameters") ?? refusals.get("") ?? "");
    this.resolution.refuse(refusals.get("resolution") ?? "");
    for (const [name, field] of this.#fields) field.refuse(refusals.get(`parameters.${name}`) ?? "");
  }

  /** @param {string} kind */
  #renderChoices(kind) {
    const makers = this.catalogue.makers(kind);
    const { preprocessors } = this.catalogue;
    const key = JSON.stringify([makers, preprocessors.map(({ name, available }) => [name, available])]);
    if (key === this.#choices) return;
    this.#choices = key;
    const option = (/** @type {import("./catalogue.js").Preprocessor} */ each) =>
      h("option", { value: each.name, disabled: !each.available }, each.available ? preprocessorLabel(each) : `${preprocessorLabel(each)} (${each.extra ? t("control.needs_extra", { extra: each.extra }) : t("control.needs_model")})`);
    const [fitting, others] = [preprocessors.filter(({ name }) => makers.includes(name)), preprocessors.filter(({ name }) => !makers.includes(name))];
    setChildren(this.select, h("option", { value: "" }, t("control.preprocessor.none")),
      fitting.length > 0 && h("optgroup", { label: t("control.preprocessor.fitting") }, fitting.map(option)),
      others.length > 0 && h("optgroup", { label: t("control.preprocessor.others") }, others.map(option)));
  }

  /** @param {string} preprocessor @param {Parameter[]} parameters */
  #makeFields(preprocessor, parameters) {
    this.#fields = new Map(parameters.map((each) => {
      const field = parameterField(`${this.prefix}.${preprocessor}.${each.name}`, each, (value) => this.#change(preprocessor, each, value));
      void serverText(each.description).then((text) => (field.frame.help.textContent = text));
      return [each.name, field];
    }));
    setChildren(this.parameters, [...this.#fields.values()].map(({ frame }) => frame.element));
  }

  /** @param {string} preprocessor @param {Parameter} parameter @param {Value} value */
  #change(preprocessor, { name, default: initial }, value) {
    const all = this.current?.parameters ?? {};
    const { [name]: _, ...others } = all[preprocessor] ?? {};
    this.onchange({ parameters: { ...all, [preprocessor]: value === initial ? others : { ...others, [name]: value } } });
  }
}

/** @param {string} name @param {Parameter} parameter @param {(value: Value) => void} onchange @returns {Field} */
function parameterField(name, { name: label, type, default: initial, minimum, maximum, description }, onchange) {
  const isNumber = type === "integer" || type === "number";
  const [least, most] = [Number(minimum ?? 0), Math.min(Number(maximum ?? Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER)];
  const range = most - least;
  const step = type === "integer" ? 1 : range <= 2 ? 0.01 : range <= 20 ? 0.1 : 0.5;
  const control = { name, group: "control", type, initial, unset: null, by_checkpoint: false, minimum: isNumber ? least : null, maximum: isNumber ? most : null, limit: isNumber ? most : null, step: isNumber ? step : null,
    choices: [], aliases: [], label: parameterLabel(label), info: description };
  if (isNumber) return new NumberField({ ...control, control: range <= MAX_SLIDER_RANGE ? "slider" : "text" }, { onchange });
  return makeField({ ...control, control: type === "boolean" ? "checkbox" : "text" }, onchange);
}
