// The results of a gallery search, loaded page by page; entries created later are held back until they are inserted.

import { get, query } from "../core/api.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {Record<string, string | boolean | null>} GalleryQuery  query parameters of GET /v1/gallery */

const FIRST_PAGE_SIZE = 100; // smaller, for a fast first response
const PAGE_SIZE = 500;
const NEW_PAGE_SIZE = 50; // page size when looking for new entries
const RETRY_DELAY = 5000; // milliseconds before a failed page is requested again automatically

export class Results {
  /** @type {GalleryEntry[]} */
  entries = [];
  /** Entries created after the search, newest first, not inserted yet. @type {GalleryEntry[]} */
  newEntries = [];
  /** Whether the first page has been loaded. */
  ready = false;
  /** The error of the last page. @type {unknown} */
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
  #batching = false; // whether changes are reported together at the end of a batch
  #changed = false;
  #controller = new AbortController();
  /** @type {Map<string, {entry: GalleryEntry, after: string | null, abort: AbortController}>} */
  #removed = new Map();

  /**
   * @param {{onchange: () => void, onload: (entries: GalleryEntry[]) => void, onfailure: (error: unknown) => void, isBeingDeleted: (id: string) => boolean}} calls
   *   onchange: the entries or their known number have changed; onload: entries have been added at the end, called before onchange;
   *   isBeingDeleted: whether an entry is waiting for its deletion
   */
  constructor({ onchange, onload, onfailure, isBeingDeleted }) {
    this.onchange = () => (this.#batching ? (this.#changed = true) : onchange());
    this.onload = onload;
    this.onfailure = onfailure;
    this.isBeingDeleted = isBeingDeleted;
  }

  /** Whether all pages have been loaded. */
  get complete() {
    return this.ready && this.#next === null;
  }

  /** The number of entries, as far as it is known. */
  get total() {
    return this.complete ? this.entries.length : Math.max(this.entries.length + (this.ready ? 1 : 0), this.#expected);
  }

  /** Whether total is exact. */
  get exact() {
    return this.complete || (this.ready && this.#expected > this.entries.length);
  }

  /** Make many changes that are reported as one. @param {() => void} work */
  batch(work) {
    this.#batching = true;
    this.#changed = false;
    try {
      work();
    } finally {
      this.#batching = false;
    }
    if (this.#changed) this.onchange();
  }

  /** Set the expected number from the facets; 0: unknown. @param {number} amount */
  setExpected(amount) {
    this.#expected = amount;
    this.onchange();
  }

  /** Start another search. @param {GalleryQuery} wanted */
  async search(wanted) {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#query = wanted;
    Object.assign(this, { entries: [], newEntries: [], ready: false, failure: null });
    this.#knownIds.clear();
    this.#next = null;
    this.#neededIndex = 0;
    this.#expected = 0;
    this.#loading = null;
    await this.#load(FIRST_PAGE_SIZE);
  }

  /** Load pages up to an index; replaces any earlier target. @param {number} index */
  ensureLoaded(index) {
    this.#neededIndex = index;
    if (this.complete || !this.ready || this.entries.length > index) return;
    if (this.failure && performance.now() - this.#failedAt < RETRY_DELAY) return;
    void this.#load(PAGE_SIZE);
  }

  /** Load the next page. @returns {Promise<GalleryEntry[]>}  its entries */
  async loadMore() {
    const before = this.entries.length;
    if (this.#loading) await this.#loading;
    else if (!this.complete) await this.#load(PAGE_SIZE, true);
    return this.entries.slice(before);
  }

  /** @param {number} limit @param {boolean} [once] */
  #load(limit, once = false) {
    if (this.#loading) return this.#loading;
    const loading = this.#loadPages(limit, once, this.#controller).finally(() => {
      if (this.#loading === loading) this.#loading = null; // unless a later search has replaced it
    });
    return (this.#loading = loading);
  }

  /** @param {number} limit @param {boolean} once @param {AbortController} abort */
  async #loadPages(limit, once, abort) {
    try {
      do {
        const page = await get(`/v1/gallery${query({ ...this.#query, limit, after: this.#next })}`, abort.signal);
        if (abort.signal.aborted) return;
        const added = this.#addUnknown(page.entries);
        this.entries.push(...added);
        this.#next = page.next;
        this.ready = true;
        this.failure = null;
        this.onload(added);
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

  /** Add the ids of entries that are not listed yet, and return those entries. @param {GalleryEntry[]} entries */
  #addUnknown(entries) {
    const fresh = entries.filter(({ id }) => !this.#knownIds.has(id) && !this.isBeingDeleted(id));
    for (const { id } of fresh) this.#knownIds.add(id);
    return fresh;
  }

  /** Load entries created since the search. */
  async fetchNew() {
    if (!this.ready || !(this.newestFirst || this.complete)) return; // in another order unknown entries need not be new
    const abort = this.#controller;
    /** @type {GalleryEntry[]} */
    const fresh = [];
    let after = null;
    do {
      const page = await get(`/v1/gallery${query({ ...this.#query, sort: null, limit: NEW_PAGE_SIZE, after })}`, abort.signal);
      if (abort.signal.aborted) return;
      const unknown = this.#addUnknown(page.entries);
      fresh.push(...unknown);
      after = unknown.length === page.entries.length ? page.next : null;
    } while (after !== null);
    this.newEntries.unshift(...fresh);
    if (fresh.length) this.onchange();
  }

  /** Whether the newest entries are at the top. */
  get newestFirst() {
    return !this.#query.sort;
  }

  /** Insert the new entries at the top; only if the newest are there. @returns {number}  how many */
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

  /** Update an entry's fields. @param {string} id @param {Partial<GalleryEntry>} fields */
  update(id, fields) {
    const at = this.indexOf(id);
    if (at < 0) return;
    this.entries[at] = { ...this.entries[at], ...fields };
    this.onchange();
  }

  /** Remove an entry; its id stays known, so that no page adds it again. @param {string} id */
  remove(id) {
    const at = this.indexOf(id);
    if (at < 0) return this.#removeNew(id);
    const [entry] = this.entries.splice(at, 1);
    this.#removed.set(id, { entry, after: this.entries[at - 1]?.id ?? null, abort: this.#controller });
    if (this.#expected) this.#expected -= 1;
    this.onchange();
  }

  /** Remove an entry from the new entries. @param {string} id */
  #removeNew(id) {
    const remaining = this.newEntries.filter((entry) => entry.id !== id);
    if (remaining.length === this.newEntries.length) return;
    this.newEntries = remaining;
    this.onchange();
  }

  /** Restore a removed entry at its place. @param {string} id @returns {boolean}  false: it was removed from an earlier search's results */
  restore(id) {
    const removal = this.#removed.get(id);
    this.#removed.delete(id);
    if (removal?.abort !== this.#controller) return false;
    const at = removal.after === null ? 0 : this.indexOf(removal.after) + 1;
    this.entries.splice(at, 0, removal.entry);
    if (this.#expected) this.#expected += 1;
    this.onchange();
    return true;
  }
}
