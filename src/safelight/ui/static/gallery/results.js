// What was found, as far as it is loaded: page by page in its order, with what is new held at the door.

import { get, query } from "../core/api.js";

/** @typedef {import("../types").GalleryEntry} Entry */
/** @typedef {Record<string, string | boolean | null>} GalleryQuery  what GET /v1/gallery is asked for */

const FIRST_PAGE_SIZE = 100; // entries on the first page, which is to be there soon
const PAGE_SIZE = 500;
const NEW_PAGE_SIZE = 50; // entries on a page of new ones
const RETRY_DELAY = 5000; // milliseconds until a page that failed is asked for by itself again

export class Results {
  /** @type {Entry[]} */
  entries = [];
  /** Entries that came since, the newest first, until admit. @type {Entry[]} */
  newEntries = [];
  /** Whether the first page is there. */
  ready = false;
  /** What the last page ended in. @type {unknown} */
  failure = null;
  #expected = 0;
  /** @type {GalleryQuery} */
  #query = {};
  /** @type {string | null} */
  #next = null;
  #neededIndex = 0;
  /** @type {Set<string>} */
  #knownIds = new Set();
  /** @type {Promise<void> | null} */
  #loading = null;
  #failedAt = 0;
  #abort = new AbortController();
  /** @type {Map<string, {entry: Entry, after: string | null, abort: AbortController}>} */
  #removed = new Map();

  /**
   * @param {{onchange: () => void, onfailure: (error: unknown) => void, isBeingDeleted: (id: string) => boolean}} calls
   *   onchange: other entries are there, or their number is known better; isDoomed: whether one is as good as deleted
   */
  constructor({ onchange, onfailure, isBeingDeleted: isDoomed }) {
    this.onchange = onchange;
    this.onfailure = onfailure;
    this.isDoomed = isDoomed;
  }

  /** Whether all of them are loaded. */
  get complete() {
    return this.ready && this.#next === null;
  }

  /** How many there are, as far as is known. */
  get total() {
    return this.complete ? this.entries.length : Math.max(this.entries.length + (this.ready ? 1 : 0), this.#expected);
  }

  /** Whether total is their real number. */
  get exact() {
    return this.complete || (this.ready && this.#expected > this.entries.length);
  }

  /** How many there should be, from elsewhere; 0 where nobody knows. @param {number} amount */
  setExpected(amount) {
    this.#expected = amount;
    this.onchange();
  }

  /** Look for something else. @param {GalleryQuery} wanted */
  async search(wanted) {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#query = wanted;
    Object.assign(this, { entries: [], waiting: [], ready: false, failure: null });
    this.#knownIds.clear();
    this.#next = null;
    this.#neededIndex = 0;
    this.#expected = 0;
    this.#loading = null;
    await this.#load(FIRST_PAGE_SIZE);
  }

  /** Load as far as an entry, page by page; what was needed before no longer counts. @param {number} index */
  ensureLoaded(index) {
    this.#neededIndex = index;
    if (this.complete || !this.ready || this.entries.length > index) return;
    if (this.failure && performance.now() - this.#failedAt < RETRY_DELAY) return;
    void this.#load(PAGE_SIZE);
  }

  /** Load the next page. @returns {Promise<Entry[]>}  what it brought */
  async loadMore() {
    const before = this.entries.length;
    if (this.#loading) await this.#loading;
    else if (!this.complete) await this.#load(PAGE_SIZE, true);
    return this.entries.slice(before);
  }

  /** @param {number} limit @param {boolean} [once] */
  #load(limit, once = false) {
    if (this.#loading) return this.#loading;
    const loading = this.#loadPages(limit, once, this.#abort).finally(() => {
      if (this.#loading === loading) this.#loading = null; // and not that of a later start
    });
    return (this.#loading = loading);
  }

  /** @param {number} limit @param {boolean} once @param {AbortController} abort */
  async #loadPages(limit, once, abort) {
    try {
      do {
        const page = await get(`/v1/gallery${query({ ...this.#query, limit, after: this.#next })}`, abort.signal);
        if (abort.signal.aborted) return;
        this.entries.push(...this.#addUnknown(page.entries));
        this.#next = page.next;
        this.ready = true;
        this.failure = null;
        this.onchange();
      } while (!once && this.#next !== null && this.entries.length <= this.#neededIndex);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.failure = error;
      this.#failedAt = performance.now();
      this.onchange();
      this.onfailure(error);
    }
  }

  /** Those that are not listed yet; now they are. @param {Entry[]} entries */
  #addUnknown(entries) {
    const fresh = entries.filter(({ id }) => !this.#knownIds.has(id) && !this.isDoomed(id));
    for (const { id } of fresh) this.#knownIds.add(id);
    return fresh;
  }

  /** Look for what was made since. */
  async fetchNew() {
    if (!this.ready) return;
    const abort = this.#abort;
    /** @type {Entry[]} */
    const fresh = [];
    let after = null;
    do {
      const page = await get(`/v1/gallery${query({ ...this.#query, limit: NEW_PAGE_SIZE, after })}`, abort.signal);
      if (abort.signal.aborted) return;
      const unknown = this.#addUnknown(page.entries);
      fresh.push(...unknown);
      after = unknown.length === page.entries.length ? page.next : null;
    } while (after !== null);
    this.newEntries.unshift(...fresh);
    if (fresh.length) this.onchange();
  }

  /** Let in what waits. @returns {number}  how many */
  insertNew() {
    const { length } = this.newEntries;
    this.entries.unshift(...this.newEntries.splice(0));
    if (this.#expected) this.#expected += length;
    if (length) this.onchange();
    return length;
  }

  /** @param {string} id */
  indexOf(id) {
    return this.entries.findIndex((entry) => entry.id === id);
  }

  /** Change what is known of an entry. @param {string} id @param {Partial<Entry>} fields */
  update(id, fields) {
    const at = this.indexOf(id);
    if (at < 0) return;
    this.entries[at] = { ...this.entries[at], ...fields };
    this.onchange();
  }

  /** Take an entry out; it stays known, so that no page brings it back. @param {string} id */
  remove(id) {
    const at = this.indexOf(id);
    if (at < 0) return this.#removeNew(id);
    const [entry] = this.entries.splice(at, 1);
    this.#removed.set(id, { entry, after: this.entries[at - 1]?.id ?? null, abort: this.#abort });
    if (this.#expected) this.#expected -= 1;
    this.onchange();
  }

  /** Let an entry that waits not in. @param {string} id */
  #removeNew(id) {
    const remaining = this.newEntries.filter((entry) => entry.id !== id);
    if (remaining.length === this.newEntries.length) return;
    this.newEntries = remaining;
    this.onchange();
  }

  /** Put an entry back to where it was. @param {string} id @returns {boolean}  false: it was taken from another result */
  restore(id) {
    const removal = this.#removed.get(id);
    this.#removed.delete(id);
    if (removal?.abort !== this.#abort) return false;
    const at = removal.after === null ? 0 : this.indexOf(removal.after) + 1;
    this.entries.splice(at, 0, removal.entry);
    if (this.#expected) this.#expected += 1;
    this.onchange();
    return true;
  }
}
