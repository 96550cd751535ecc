// The pictures that the model looks at, as values; prompts name them by their places: image 1, image 2 …

import { imageField } from "../control/units.js";

/** @typedef {import("../control/units.js").UnitPicture} UnitPicture */
/** @typedef {{id: number, picture: UnitPicture | null}} Reference  it is never changed, but replaced; picture: null if it has to be added again */

export class References {
  /** @type {readonly Reference[]} */
  list = [];
  #lastId = 0;

  /** @param {() => void} onchange */
  constructor(onchange) {
    this.onchange = onchange;
  }

  /** @param {(UnitPicture | null)[]} pictures */
  add(pictures) {
    this.set([...this.list, ...pictures.map((picture) => ({ id: ++this.#lastId, picture }))]);
  }

  /** @param {number} id @param {UnitPicture} picture */
  change(id, picture) {
    this.set(this.list.map((each) => (each.id === id ? { id, picture } : each)));
  }

  /** @param {number} id */
  remove(id) {
    this.set(this.list.filter((each) => each.id !== id));
  }

  /** Move one to another place. @param {number} id @param {number} to  its index */
  move(id, to) {
    const moved = this.list.find((each) => each.id === id);
    if (!moved || to < 0 || to >= this.list.length || this.list[to] === moved) return;
    this.set(this.list.filter((each) => each !== moved).toSpliced(to, 0, moved));
  }

  /** Replace all. @param {readonly Reference[]} list */
  set(list) {
    this.list = list;
    this.#lastId = Math.max(this.#lastId, ...list.map(({ id }) => id));
    this.onchange();
  }

  /** What is wrong, as far as that can be said without the server. @returns {import("../types").FieldProblem[]} */
  check() {
    return this.list.flatMap(({ picture }, index) => (picture ? [] : [{ field: `references.${index}.image`, code: "page.reference_picture", message: "", context: { number: index + 1 } }]));
  }

  /** The request's references[]. @returns {Promise<{image: string}[]>} */
  requestFields() {
    return Promise.all(this.list.flatMap(({ picture }) => (picture ? [imageField(picture).then((image) => ({ image }))] : [])));
  }
}
