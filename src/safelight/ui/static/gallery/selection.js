// Which pictures are selected. A range may reach beyond the entries that are loaded: those are counted, and their ids are added
// as soon as they are loaded.

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

export const MAX_SELECTED = 10000; // the number of entries that the page loads without scrolling

export class Selection {
  /** Whether pictures are being selected, even if none is yet. */
  active = false;
  /** Number of entries after the loaded ones that are selected as well. */
  ahead = 0;
  /** @type {Set<string>} */
  #ids = new Set();
  /** The picture at which a range starts. @type {string | null} */
  #anchor = null;
  /** What was selected when the anchor was set: a range is added to it. */
  #base = { ids: /** @type {Set<string>} */ (new Set()), ahead: 0 };

  /** Number of selected pictures. */
  get size() {
    return this.#ids.size + this.ahead;
  }

  /** @param {string} id */
  has(id) {
    return this.#ids.has(id);
  }

  /** Stop selecting. */
  clear() {
    this.active = false;
    this.#set([]);
    this.#setAnchor(null);
  }

  /** Select or deselect a picture; it becomes the start of the next range. @param {string} id */
  toggle(id) {
    this.active = true;
    if (!this.#ids.delete(id)) this.#ids.add(id);
    this.#setAnchor(id);
  }

  /**
   * Select the range from the anchor to an entry, instead of the previous range from the same anchor.
   * @param {GalleryEntry[]} entries  the loaded ones
   * @param {number} index  may be that of an entry that is not loaded yet
   * @param {number} [from]  the anchor if there is none
   */
  extend(entries, index, from = index) {
    this.active = true;
    if (this.#indexOfAnchor(entries) < 0) this.#setAnchor(entries[Math.min(from, entries.length - 1)]?.id ?? null);
    const anchor = Math.max(0, this.#indexOfAnchor(entries));
    const first = Math.max(Math.min(anchor, index), anchor - MAX_SELECTED + 1);
    const last = Math.min(Math.max(anchor, index), anchor + MAX_SELECTED - 1);
    const range = entries.slice(first, last + 1).map(({ id }) => id);
    this.#set([...this.#base.ids, ...range], Math.max(this.#base.ahead, last - entries.length + 1));
  }

  /** Select all entries, up to the maximum. @param {GalleryEntry[]} entries  the loaded ones @param {number} total */
  selectAll(entries, total) {
    this.active = true;
    const loaded = entries.slice(0, MAX_SELECTED);
    this.#set(loaded.map(({ id }) => id), Math.min(total, MAX_SELECTED) - loaded.length);
    this.#setAnchor(entries[0]?.id ?? null);
  }

  /** Further entries have been loaded. @param {GalleryEntry[]} entries  those that follow the ones loaded before @param {boolean} complete  whether they are the last */
  onLoad(entries, complete) {
    const selected = entries.slice(0, this.ahead);
    for (const { id } of selected) this.#ids.add(id);
    for (const { id } of entries.slice(0, this.#base.ahead)) this.#base.ids.add(id);
    this.ahead = complete ? 0 : this.ahead - selected.length;
    this.#base.ahead = complete ? 0 : Math.max(0, this.#base.ahead - entries.length);
  }

  /** Forget a picture that is no longer there. @param {string} id */
  forget(id) {
    this.#ids.delete(id);
    this.#base.ids.delete(id);
  }

  /** @param {Iterable<string>} ids @param {number} [ahead] */
  #set(ids, ahead = 0) {
    this.#ids = new Set(ids);
    this.ahead = Math.max(0, ahead);
  }

  /** @param {string | null} id */
  #setAnchor(id) {
    this.#anchor = id;
    this.#base = { ids: new Set(this.#ids), ahead: this.ahead };
  }

  /** @param {GalleryEntry[]} entries */
  #indexOfAnchor(entries) {
    return this.#anchor === null ? -1 : entries.findIndex(({ id }) => id === this.#anchor);
  }
}
