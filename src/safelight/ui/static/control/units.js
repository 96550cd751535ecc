// The units of the form's Control section, as values: each is a picture that steers the generation, and the network that reads it.

import { UNIT_CONTROLS } from "../controls.js";
import { base64, readBlob, request } from "../core/api.js";
import { fileUrl } from "../core/picture.js";
import { listField } from "../form/list_field.js";

/** @typedef {import("../controls.js").Value} Value */
/**
 * A picture of a unit: a file, or an entry of the gallery.
 * @typedef {{blob: Blob | null, entry: string | null, width: number, height: number}} UnitPicture
 */
/**
 * A unit; it is never changed, but replaced. kind, model, preprocessor: empty for "not given"; source: own, or the request's initial picture;
 * parameters: those that were changed, by preprocessor; resolution: of the map, null for that which the picture needs.
 * @typedef {{id: number, kind: string, model: string, source: "own" | "initial", picture: UnitPicture | null, mask: Blob | null, preprocessor: string,
 *   parameters: Record<string, Record<string, Value>>, resolution: number | null, weight: number, start: number, end: number, mode: string, resize: string}} Unit
 */
/** @typedef {Partial<Omit<Unit, "id">>} UnitChanges */

export const MAX_UNITS = 8; // as request.py has it
export const IP_ADAPTER = "ip-adapter";
/** Fields that make no sense with a kind of picture, or with what reads it. @type {Record<string, string[]>} */
const LACKING = { reference: ["model", "preprocessor", "mask"], [IP_ADAPTER]: ["preprocessor", "mode", "resize"] };
const PLAIN = /** @type {const} */ (["weight", "start", "end", "mode", "resize"]); // fields that are the request's as they are

export class Units {
  /** @type {readonly Unit[]} */
  list = [];
  #lastId = 0;

  /** @param {() => void} onchange */
  constructor(onchange) {
    this.onchange = onchange;
  }

  /** @param {UnitChanges} [values] @returns {number}  its id */
  add(values = {}) {
    const unit = this.#make(values);
    this.set([...this.list, unit]);
    return unit.id;
  }

  /** @param {number} id @param {UnitChanges} changes */
  change(id, changes) {
    this.set(this.list.map((unit) => (unit.id === id ? { ...unit, ...changes } : unit)));
  }

  /** @param {number} id */
  remove(id) {
    this.set(this.list.filter((unit) => unit.id !== id));
  }

  /** Replace all units. @param {readonly Unit[]} units */
  set(units) {
    this.list = units;
    this.#lastId = Math.max(this.#lastId, ...units.map(({ id }) => id));
    this.onchange();
  }

  /**
   * Replace all units by recalled ones, whose own pictures have to be added again.
   * @param {Record<string, any>[]} controls  of a recalled request
   * @param {import("../types").RecallResult["unfilled"]} unfilled
   * @param {(UnitPicture | null)[]} pictures  of the units, as far as they are known
   */
  recall(controls, unfilled, pictures) {
    const lacking = new Set(unfilled.map(({ name }) => unitField(name)).flatMap((about) => (about?.name === "image" ? [about.index] : [])));
    const allLack = lacking.size >= controls.length; // an infotext numbers its units with gaps
    this.set(controls.map(({ kind, model, preprocessor, ...rest }, index) => this.#make({
      ...Object.fromEntries(PLAIN.filter((name) => name in rest).map((name) => [name, rest[name]])),
      kind: kind ?? "",
      model: model ?? "",
      preprocessor: preprocessor?.name ?? "",
      parameters: preprocessor?.parameters ? { [preprocessor.name]: preprocessor.parameters } : {},
      resolution: preprocessor?.resolution ?? null,
      picture: pictures[index] ?? null,
      source: pictures[index] || allLack || lacking.has(index) ? "own" : "initial",
    })));
  }

  /** What is wrong, as far as that can be said without the server. @param {boolean} hasInitial  whether the request has an initial picture @returns {import("../types").FieldProblem[]} */
  check(hasInitial) {
    return this.list.flatMap(({ source, picture }, index) => {
      const field = `control.${index}.image`;
      if (source === "own" && !picture) return [{ field, code: "page.control_picture", message: "" }];
      return source === "initial" && !hasInitial ? [{ field, code: "request.picture_needed", message: "" }] : [];
    });
  }

  /** The units as the request's control[]. @returns {Promise<any[]>} */
  requestFields() {
    return Promise.all(this.list.map(async (unit) => {
      const options = preprocessorOptions(unit);
      return {
        ...(unit.kind && { kind: unit.kind }),
        ...(unit.model && { model: unit.model }),
        ...(unit.source === "own" && unit.picture && { image: await imageField(unit.picture) }),
        ...(options && { preprocessor: options }),
        ...Object.fromEntries(PLAIN.filter((name) => takes(unit.kind, name) && unit[name] !== UNIT_CONTROLS[name].unset).map((name) => [name, unit[name]])),
        ...(unit.mask && takes(unit.kind, "mask") && { mask: await base64(unit.mask) }),
      };
    }));
  }

  /** @param {UnitChanges} values @returns {Unit} */
  #make(values) {
    const plain = Object.fromEntries(PLAIN.map((name) => [name, UNIT_CONTROLS[name].initial]));
    return /** @type {Unit} */ ({ kind: "", model: "", source: "own", picture: null, mask: null, preprocessor: "", parameters: {}, resolution: null, ...plain, ...values, id: ++this.#lastId });
  }
}

/** Which unit an error's field is about. @param {string} field @returns {{index: number, name: string} | null}  name: of the field within it; null: about none */
export function unitField(field) {
  const about = listField(field);
  return about?.list === "control" && about.index !== null ? { index: about.index, name: about.name } : null;
}

/** Whether a unit of a kind has a field. @param {string} kind @param {string} field */
export const takes = (kind, field) => !LACKING[kind]?.includes(field);

/** The preprocessor of a unit as a request has it; null: none. @param {Unit} unit */
export function preprocessorOptions({ kind, preprocessor, parameters, resolution }) {
  if (!preprocessor || !takes(kind, "preprocessor")) return null;
  const changed = parameters[preprocessor] ?? {};
  return { name: preprocessor, ...(Object.keys(changed).length && { parameters: changed }), ...(resolution && { resolution }) };
}

/** A picture's file. @param {UnitPicture} picture @returns {Promise<Blob>} */
export const fileOf = async ({ blob, entry }) => blob ?? readBlob(await request("GET", fileUrl(String(entry))));

/** A picture as our API takes it. @param {UnitPicture} picture @returns {Promise<string>} */
export const imageField = async ({ blob, entry }) => (blob ? base64(blob) : `gallery:${entry}`);
