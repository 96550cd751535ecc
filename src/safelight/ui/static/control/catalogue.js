// What the server offers for control pictures: networks, kinds of pictures, and preprocessors; and what of it fits the checkpoint.

import { get } from "../core/api.js";
import { hasText, t } from "../core/text.js";
import { OBJECT_MASK } from "../editor/segmentation.js";

/** @typedef {import("../controls.js").Value} Value */
/** @typedef {{name: string, title: string, family: string | null, family_title: string | null, checkpoint: string | null, kinds: string[], several: boolean}} ControlModel */
/** @typedef {{name: string, preprocessors: string[], families: string[]}} ControlKind */
/** @typedef {{name: string, type: "integer" | "number" | "boolean" | "string", default: Value, minimum: number | null, maximum: number | null, description: string}} Parameter */
/** @typedef {{name: string, title: string, description: string, available: boolean, extra: string, runs_in_worker: boolean, parameters: Parameter[]}} Preprocessor */

export class Catalogue {
  /** @type {ControlModel[]} */
  models = [];
  /** @type {ControlKind[]} */
  kinds = [];
  /** @type {Preprocessor[]} */
  preprocessors = [];
  /** The family of the checkpoint; null: not known. @type {string | null} */
  family = null;
  /** The checkpoint's name; null: not known. @type {string | null} */
  checkpoint = null;

  /** Ask the server. */
  async load() {
    const [{ controls, kinds }, { preprocessors }] = await Promise.all([get("/v1/controls"), get("/v1/preprocessors")]);
    const maps = preprocessors.filter((/** @type {Preprocessor} */ { name }) => name !== OBJECT_MASK); // whose points are those of a press in the editor
    Object.assign(this, { models: controls, kinds, preprocessors: maps });
  }

  /** Whether a network is for the checkpoint. @param {ControlModel} model */
  fits(model) {
    const own = !model.checkpoint || !this.checkpoint || model.checkpoint === this.checkpoint;
    return own && (!model.family || !this.family || model.family === this.family);
  }

  /** Whether a kind of picture can steer the checkpoint. @param {ControlKind} kind */
  canUse(kind) {
    return this.#needsNoModel(kind) || this.models.some((model) => this.fits(model) && model.kinds.includes(kind.name));
  }

  /** The values of a new unit: the first kind that there is a network for, with what makes such pictures. @returns {import("./units.js").UnitChanges} */
  firstUnit() {
    const usable = this.kinds.filter((kind) => this.canUse(kind));
    const kind = usable.find((each) => !this.#needsNoModel(each)) ?? usable[0];
    return kind ? { kind: kind.name, preprocessor: this.maker(kind.name) } : {};
  }

  /** The first preprocessor that makes pictures of a kind, and can; empty: none. @param {string} kind */
  maker(kind) {
    const names = this.makers(kind);
    return this.preprocessors.find(({ name, available }) => available && names.includes(name))?.name ?? "";
  }

  /** The preprocessors that make pictures of a kind. @param {string} kind @returns {string[]} */
  makers(kind) {
    return this.kinds.find(({ name }) => name === kind)?.preprocessors ?? [];
  }

  /** @param {string} name @returns {Preprocessor | undefined} */
  preprocessor(name) {
    return this.preprocessors.find((each) => each.name === name);
  }

  /** @param {ControlKind} kind */
  #needsNoModel(kind) {
    return kind.families.some((family) => !this.family || family === this.family);
  }
}

/** What a kind of picture is called. @param {string} name */
export const kindLabel = (name) => (hasText(`control.kind.${name}`) ? t(`control.kind.${name}`) : name);
/** @param {Preprocessor} preprocessor */
export const preprocessorLabel = ({ name, title }) => (hasText(`control.preprocessor.${name}`) ? t(`control.preprocessor.${name}`) : title);
/** @param {string} name  of a parameter */
export const parameterLabel = (name) => (hasText(`control.parameter.${name}`) ? t(`control.parameter.${name}`) : name.replaceAll("_", " "));
