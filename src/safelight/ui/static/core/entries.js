// Gallery entries by id, loaded when they are first asked for.

import { ApiError, get } from "./api.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

export class Entries {
  /** null: there is no such entry. @type {Map<string, GalleryEntry | null>} */
  #known = new Map();
  /** @type {Map<string, Promise<GalleryEntry | null>>} */
  #loading = new Map();

  constructor() {
    addEventListener("sl:entry", (event) => {
      const { kind, id, favourite } = /** @type {CustomEvent} */ (event).detail;
      const entry = this.#known.get(id);
      if (kind === "favourite" && entry) this.#known.set(id, { ...entry, favourite });
      else if (kind === "removed") this.#known.delete(id);
    });
  }

  /** An entry that has been loaded; null: it does not exist; undefined: it is not loaded. @param {string} id */
  get(id) {
    return this.#known.get(id);
  }

  /** @param {string} id @returns {Promise<GalleryEntry | null>}  null: it does not exist */
  load(id) {
    const known = this.#known.get(id);
    if (known !== undefined) return Promise.resolve(known);
    const loading = this.#loading.get(id) ?? this.#fetch(id).finally(() => this.#loading.delete(id));
    this.#loading.set(id, loading);
    return loading;
  }

  /** @param {string} id @returns {Promise<GalleryEntry | null>} */
  async #fetch(id) {
    const entry = await get(`/v1/gallery/${id}`).catch((error) => {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    });
    this.#known.set(id, entry);
    return entry;
  }
}
