// A unit on the page: its picture, what it shows, the network and the preprocessor, and how much it counts.

import { UNIT_CONTROLS } from "../controls.js";
import { button, h } from "../core/dom.js";
import { errorWithHint } from "../core/error_text.js";
import { t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { Combobox } from "../form/combobox.js";
import { makeField } from "../form/fields.js";
import { Frame } from "../form/frame.js";
import { kindLabel } from "./catalogue.js";
import { MapPreview } from "./map_preview.js";
import { MaskField } from "./mask_field.js";
import { PictureBox } from "./picture_box.js";
import { PreprocessorFields } from "./preprocessor_fields.js";
import { RangeField } from "./range_field.js";
import { fileOf, IP_ADAPTER, takes } from "./units.js";

/** @typedef {import("./units.js").Unit} Unit */
/** @typedef {import("./units.js").UnitPicture} UnitPicture */
/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("../form/fields.js").Field} Field */
/** @typedef {Pick<import("../types").ErrorBody, "code" | "message" | "context" | "hint">} Refusal */
/** @typedef {{initial: UnitPicture | null, size: {width: number, height: number}}} Target  the request's initial picture, and the size that is generated */

export class UnitView {
  /**
   * @param {number} id
   * @param {{catalogue: Catalogue, jobStore: import("../core/job_store.js").JobStore, onchange: (changes: import("./units.js").UnitChanges) => void, onremove: () => void}} options
   */
  constructor(id, { catalogue, jobStore, onchange, onremove }) {
    this.catalogue = catalogue;
    this.onchange = onchange;
    const prefix = `control.${id}`;
    this.title = h("h3", { id: `sl-unit-${id}` });
    this.picture = new PictureBox({ onchange });
    this.kindFrame = new Frame(`${prefix}.kind`, { label: t("control.kind"), info: t("control.kind.info"), aliases: ["control type"] });
    this.kind = h("select", { id: this.kindFrame.inputId, class: "sl-field", onchange: () => this.#chooseKind(this.kind.value) });
    this.kindFrame.fill([this.kind]);
    this.modelFrame = new Frame(`${prefix}.model`, { label: t("control.model"), info: t("control.model.info"), aliases: ["ControlNet", "T2I-Adapter", "IP-Adapter"] });
    this.model = new Combobox({ id: this.modelFrame.inputId, "aria-labelledby": this.modelFrame.labelId, onchange: (name) => this.#chooseModel(name) });
    this.modelFrame.fill([this.model.input], this.model.element);
    this.preprocessor = new PreprocessorFields(prefix, catalogue, onchange);
    this.preview = new MapPreview({ catalogue, jobStore, onmap: (url, opacity) => this.picture.showMap(url, opacity), onchange: () => this.#showRefusals() });
    this.preprocessor.element.append(this.preview.element);
    this.range = new RangeField(`${prefix}.range`, { step: Number(UNIT_CONTROLS.start.step), aliases: [...UNIT_CONTROLS.start.aliases, ...UNIT_CONTROLS.end.aliases], onchange });
    this.mask = new MaskField(`${prefix}.mask`, { onchange: (mask) => onchange({ mask }), onpaint: () => void this.#paintMask() });
    const field = (/** @type {"weight" | "mode" | "resize"} */ name) =>
      makeField({ ...UNIT_CONTROLS[name], name: `${prefix}.${name}`, label: t(`control.${name}`), info: t(`control.${name}.info`) }, (value) => onchange({ [name]: value }));
    /** By the name of the request's field. @type {{weight: Field, mode: Field, resize: Field}} */
    this.fields = { weight: field("weight"), mode: field("mode"), resize: field("resize") };
    this.refusal = h("p", { class: "sl-form-refusal", role: "alert", hidden: true });
    const { weight, mode, resize } = this.fields;
    this.element = h("section", { class: "sl-unit", "aria-labelledby": this.title.id, "data-unit": id },
      h("header", {}, this.title, button({ icon: "trash", label: t("control.remove"), iconOnly: true, class: "sl-button sl-bare sl-unit-remove", onclick: onremove })),
      this.refusal,
      this.picture.element,
      h("div", { class: "sl-unit-fields" }, this.kindFrame.element, this.modelFrame.element, this.preprocessor.element, weight.frame.element, this.range.frame.element, mode.frame.element, resize.frame.element, this.mask.frame.element));
    /** What the server refused, by field of the unit. @type {Map<string, Refusal>} */
    this.refusals = new Map();
  }

  /**
   * @param {Unit} unit
   * @param {{index: number, target: Target, refusals: Map<string, Refusal>}} state  refusals: by field of the unit
   */
  update(unit, { index, target, refusals }) {
    this.unit = unit;
    this.target = target;
    this.refusals = refusals;
    this.title.textContent = t("control.unit", { number: index + 1 });
    this.picture.update(unit, target.initial);
    this.#renderKinds(unit);
    this.#renderModels(unit);
    const { mode, resize } = this.fields;
    const elements = { model: this.modelFrame.element, preprocessor: this.preprocessor.element, mask: this.mask.frame.element, mode: mode.frame.element, resize: resize.frame.element };
    for (const [name, element] of Object.entries(elements)) element.hidden = !takes(unit.kind, name);
    this.preprocessor.update(unit);
    this.preview.update(unit, target);
    this.fields.weight.show(unit.weight);
    this.fields.mode.show(unit.mode);
    this.fields.resize.show(unit.resize);
    this.range.show(unit);
    this.mask.show(unit.mask);
    this.#showRefusals();
  }

  /** Focus what was refused. */
  showRefused() {
    const first = this.element.querySelector(/** @type {"p"} */ (".sl-form-refusal:not([hidden])"));
    const row = first?.closest(".sl-form-row, .sl-unit-picture") ?? this.element;
    row.scrollIntoView({ block: "center" }); // not below the Draw button
    /** @type {HTMLElement | null} */ (row.querySelector("[aria-invalid], button, input:not([hidden]), select"))?.focus({ preventScroll: true });
  }

  /** Let all texts follow their values. */
  commit() {
    this.fields.weight.commit?.();
    this.model.close();
  }

  /** Release what is held for it. */
  close() {
    this.preview.close();
    this.picture.close();
    this.mask.close();
  }

  /** Paint the mask: on the unit's picture, or for an IP-Adapter on what is to come. */
  #paintMask = withErrorToast(async () => {
    const { unit, target } = this;
    if (!unit || !target) return;
    const { blankPicture, paintMask } = await import("../editor/mask_dialog.js");
    const steering = unit.kind === IP_ADAPTER ? target.initial : unit.source === "initial" ? target.initial : unit.picture;
    const picture = steering ? await fileOf(steering) : await blankPicture(target.size);
    const mask = await paintMask({ title: t("control.mask.title", { number: this.title.textContent ?? "" }), note: t("control.mask.info"), picture, mask: unit.mask });
    if (mask !== undefined) this.onchange({ mask });
    this.mask.paint.focus();
  });

  #showRefusals() {
    const { unit } = this;
    const texts = new Map([...this.refusals].map(([field, refusal]) => [field, errorWithHint(refusal)]));
    const take = (/** @type {string[]} */ ...names) => {
      const found = names.map((name) => texts.get(name)).filter(Boolean).join(" ");
      for (const name of names) texts.delete(name);
      return found;
    };
    const within = new Map([...texts].filter(([name]) => /^preprocessor(\.|$)/.test(name)).map(([name, text]) => [name.slice("preprocessor.".length), text]));
    for (const name of [...texts.keys()]) if (/^preprocessor(\.|$)/.test(name)) texts.delete(name);
    const failure = this.preview.failure;
    if (failure) {
      const name = /^(parameters(\.|$)|resolution$)/.test(failure.field) ? failure.field : failure.field === "preprocessor" ? "name" : "";
      if (name) within.set(name, errorWithHint(failure));
    }
    this.preview.refuse(failure && !/^(parameters|resolution|preprocessor)/.test(failure.field) ? errorWithHint(failure) : "");
    this.preprocessor.refuse(within);
    this.picture.refuse(take("image"));
    this.kindFrame.refuse(take("kind"));
    this.modelFrame.refuse(take("model"));
    for (const [name, field] of Object.entries(this.fields)) field.refuse(take(name));
    this.range.refuse(take("start", "end"));
    this.mask.frame.refuse(take("mask"));
    const rest = [...texts.values()].join(" "); // what has no field, or one that is hidden
    this.refusal.hidden = !rest;
    if (this.refusal.textContent !== rest) this.refusal.textContent = rest;
    this.element.classList.toggle("sl-refused", this.refusals.size > 0 && !!unit);
  }

  /** @param {Unit} unit */
  #renderKinds(unit) {
    const { catalogue, kind: select } = this;
    const key = JSON.stringify([catalogue.checkpoint, catalogue.family, catalogue.kinds.map((kind) => catalogue.canUse(kind))]);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(h("option", { value: "" }, t("control.kind.unset")), ...catalogue.kinds.map((kind) => {
        const usable = catalogue.canUse(kind);
        return h("option", { value: kind.name, disabled: !usable }, usable ? kindLabel(kind.name) : `${kindLabel(kind.name)} (${t("control.kind.no_model")})`);
      }));
    }
    if (![...select.options].some(({ value }) => value === unit.kind)) select.append(h("option", { value: unit.kind }, kindLabel(unit.kind)));
    select.value = unit.kind;
  }

  /** @param {Unit} unit */
  #renderModels(unit) {
    const { catalogue } = this;
    const key = JSON.stringify([catalogue.checkpoint, catalogue.family, unit.kind, catalogue.models.map(({ name, family, kinds }) => [name, family, kinds])]);
    if (this.modelFrame.element.dataset.key !== key) {
      this.modelFrame.element.dataset.key = key;
      const choices = catalogue.models.map((model) => {
        const fits = catalogue.fits(model);
        const forKind = !unit.kind || model.kinds.length === 0 || model.kinds.includes(unit.kind);
        const group = !fits ? t("control.models.other_family") : forKind ? t("control.models.fitting") : t("control.models.other_kind");
        return { rank: !fits ? 2 : forKind ? 0 : 1, choice: { value: model.name, label: model.name, group, unfit: !fits, detail: fits ? model.kinds.length > 1 ? t("control.models.several") : model.kinds.map(kindLabel).join() : t("control.models.for", { family: model.family_title ?? "" }) } };
      });
      choices.sort((one, other) => one.rank - other.rank); // stable
      const first = { value: "", label: catalogue.models.length ? t("control.model.first") : t("control.model.none") };
      this.model.setChoices([first, ...choices.map(({ choice }) => choice)]);
    }
    this.model.show(unit.model);
  }

  /** The user chooses a kind: a network that does not take it is no longer asked for, and the preprocessor is one that makes such pictures. @param {string} kind */
  #chooseKind(kind) {
    const { catalogue, unit } = this;
    if (!unit) return;
    const model = catalogue.models.find(({ name }) => name === unit.model);
    const keepsModel = takes(kind, "model") && (!model || !kind || model.kinds.length === 0 || model.kinds.includes(kind));
    const keepsMaker = !kind || catalogue.makers(kind).includes(unit.preprocessor);
    this.onchange({ kind, model: keepsModel ? unit.model : "", ...(!keepsMaker && { preprocessor: catalogue.maker(kind) }) });
  }

  /** The user chooses a network: the kind is one that it takes. @param {string} name */
  #chooseModel(name) {
    const { catalogue, unit } = this;
    const model = catalogue.models.find((each) => each.name === name);
    if (!unit) return;
    const kind = !model || model.kinds.includes(unit.kind) ? unit.kind : (model.kinds[0] ?? "");
    const keepsMaker = kind === unit.kind || catalogue.makers(kind).includes(unit.preprocessor);
    this.onchange({ model: name, kind, ...(!keepsMaker && { preprocessor: catalogue.maker(kind) }) });
  }
}
