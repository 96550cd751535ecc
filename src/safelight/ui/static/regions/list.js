// Regions, as values: parts of the picture with prompts of their own, each a rectangle or a painted mask.

import { REGION_CONTROLS } from "../controls.js";
import { base64 } from "../core/api.js";

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box  fractions of the picture's width and height */
/** @typedef {{width: number, height: number}} Size */
/**
 * A region; it is never changed, but replaced. box: null if it is painted, or was recalled; mask: white where it is.
 * @typedef {{id: number, prompt: string, weight: number, box: Box | null, mask: Blob | null}} Region
 */
/** @typedef {Partial<Omit<Region, "id">>} RegionChanges */

export const MAX_REGIONS = 8; // as request.py has it

export class Regions {
  /** @type {readonly Region[]} */
  list = [];
  #lastId = 0;

  /** @param {() => void} onchange */
  constructor(onchange) {
    this.onchange = onchange;
  }

  /** Add one: the left half of the picture, then the right one, then its middle. @param {RegionChanges} [values] @returns {number}  its id */
  add(values = {}) {
    const box = [{ left: 0, top: 0, right: 0.5, bottom: 1 }, { left: 0.5, top: 0, right: 1, bottom: 1 }][this.list.length] ?? { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
    const region = this.#make({ box, ...values });
    this.set([...this.list, region]);
    return region.id;
  }

  /** @param {number} id @param {RegionChanges} changes */
  change(id, changes) {
    this.set(this.list.map((region) => (region.id === id ? { ...region, ...changes } : region)));
  }

  /** @param {number} id */
  remove(id) {
    this.set(this.list.filter((region) => region.id !== id));
  }

  /** Replace all. @param {readonly Region[]} list */
  set(list) {
    this.list = list;
    this.#lastId = Math.max(this.#lastId, ...list.map(({ id }) => id));
    this.onchange();
  }

  /** Replace all by recalled ones. @param {readonly Record<string, any>[]} regions  of a recalled request @param {(Blob | null)[]} masks  as far as they are known */
  recall(regions, masks) {
    this.set(regions.map(({ prompt = "", weight }, index) => this.#make({ prompt, ...(weight !== undefined && { weight }), mask: masks[index] ?? null })));
  }

  /** What is wrong, as far as that can be said without the server. @returns {import("../types").FieldProblem[]} */
  check() {
    return this.list.flatMap(({ box, mask }, index) => (box || mask ? [] : [{ field: `regions.${index}.mask`, code: "page.region_mask", message: "" }]));
  }

  /** The request's regions[]. @param {Size} size  of the picture, in pixels @returns {Promise<any[]>} */
  async requestFields(size) {
    const { maskOf } = await import("./mask.js");
    return Promise.all(this.list.map(async ({ prompt, weight, box, mask }) => ({
      prompt,
      ...(weight !== REGION_CONTROLS.weight.unset && { weight }),
      mask: await base64(mask ?? (await maskOf(/** @type {Box} */ (box), size))),
    })));
  }

  /** @param {RegionChanges} values @returns {Region} */
  #make(values) {
    return { prompt: "", weight: Number(REGION_CONTROLS.weight.initial), box: null, mask: null, ...values, id: ++this.#lastId };
  }
}
