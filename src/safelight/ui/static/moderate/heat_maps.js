// Heat maps of local pictures, loaded on demand and cached.

import { ApiError, query, readBlob, request } from "../core/api.js";

const MAX_CACHED = 48;
const UNSUPPORTED_CODE = "explain.unsupported";

export class HeatMaps {
  /** The message why the classifier has no heat maps; null: it has, as far as is known. @type {string | null} */
  unsupported = null;
  /** @type {Map<File, Promise<string>>} */
  #maps = new Map();

  /** @param {() => void} onunsupported  called when the server answers that the classifier has no heat maps */
  constructor(onunsupported) {
    this.onunsupported = onunsupported;
  }

  /**
   * A picture's heat map as an object URL.
   * @param {File} file
   * @param {number} [frame]  index of an animation's frame, from its verdict
   * @returns {Promise<string>}
   * @throws {ApiError}
   */
  get(file, frame = 0) {
    const map = this.#maps.get(file) ?? this.#fetch(file, frame);
    this.#maps.delete(file);
    this.#maps.set(file, map); // most recently used last
    for (const oldest of [...this.#maps.keys()].slice(0, -MAX_CACHED)) this.#evict(oldest);
    return map;
  }

  /** Revoke all object URLs. */
  clear() {
    for (const file of [...this.#maps.keys()]) this.#evict(file);
  }

  /** @param {File} file @param {number} frame */
  async #fetch(file, frame) {
    try {
      const headers = { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
      const response = await request("POST", `/v1/moderate/heat${query({ frame })}`, { body: file, headers });
      return URL.createObjectURL(await readBlob(response));
    } catch (error) {
      this.#maps.delete(file); // so that the next call tries again
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
    map?.then(URL.revokeObjectURL, () => {}); // a failed request was reported to its caller
  }
}
