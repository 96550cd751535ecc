// Heat maps of local pictures: fetched when one is first wanted, and some of them kept.

import { ApiError, query, request } from "../core/api.js";

const MAX_CACHED = 48;
const UNSUPPORTED_CODE = "explain.unsupported";

export class HeatMaps {
  /** Why there are none with this classifier; null: as far as is known there are. @type {string | null} */
  unsupported = null;
  /** @type {Map<File, Promise<string>>} */
  #maps = new Map();

  /** @param {() => void} onmissing  called when it is found out that there are none */
  constructor(onmissing) {
    this.onunsupported = onmissing;
  }

  /**
   * A picture's heat map as an object URL.
   * @param {File} file
   * @param {number} [frame]  of an animation, as its verdict names it
   * @returns {Promise<string>}
   * @throws {ApiError}
   */
  get(file, frame = 0) {
    const known = this.#maps.get(file) ?? this.#fetch(file, frame);
    this.#maps.delete(file);
    this.#maps.set(file, known); // the newest at the end
    for (const oldest of [...this.#maps.keys()].slice(0, -MAX_CACHED)) this.#evict(oldest);
    return known;
  }

  /** Free them all. */
  clear() {
    for (const file of [...this.#maps.keys()]) this.#evict(file);
  }

  /** @param {File} file @param {number} frame */
  async #fetch(file, frame) {
    try {
      const headers = { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
      const response = await request("POST", `/v1/moderate/heat${query({ frame })}`, { body: file, headers });
      return URL.createObjectURL(await response.blob());
    } catch (error) {
      this.#maps.delete(file); // to be tried again
      if (error instanceof ApiError && error.code === UNSUPPORTED_CODE && this.unsupported === null) {
        this.unsupported = error.message;
        this.onunsupported();
      }
      throw error;
    }
  }

  /** @param {File} file */
  #evict(file) {
    const map = this.#maps.get(file);
    this.#maps.delete(file);
    map?.then(URL.revokeObjectURL, () => {}); // what failed was said where it was wanted
  }
}
