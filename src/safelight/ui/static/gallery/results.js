// What was found, as far as it is loaded: page by page in its order, with what is new held at the door.

import { get, query } from "../core/api.js";

/** @typedef {import("../types").Entry} Entry */
/** @typedef {Record<string, string | boolean | null>} Wanted  what GET /v1/gallery is asked for */

const FIRST = 100; // entries on the first page, which is to be there soon
const PAGE = 500;
const NEW = 50; // entries on a page of new ones
const AGAIN = 5000; // milliseconds until a page that failed is asked for by itself again

export class Results {
  /** @type {Entry[]} */
  entries = [];
  /** Entries that came since, the newest first, until admit. @type {Entry[]} */
  waiting = [];
  /** Whether the first page is there. */
  ready = false;
  /** What the last page ended in. @type {unknown} */
  failure = null;
  #expected = 0;
  /** @type {Wanted} */
  #wanted = {};
  /** @type {string | null} */
  #next = null;
  #needed = 0;
  /** @type {Set<string>} */
  #known = new Set();
  /** @type {Promise<void> | null} */
  #loading = null;
  #failed = 0;
  #abort = new AbortController();
  /** @type {Map<string, {entry: Entry, after: string | null, of: AbortController}>} */
  #taken = new Map();

  /**
   * @param {{onchange: () => void, onfailure: (error: unknown) => void, isDoomed: (id: string) => boolean}} calls
   *   onchange: other entries are there, or their number is known better; isDoomed: whether one is as good as deleted
   */
  constructor({ onchange, onfailure, isDoomed }) {
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
  expect(amount) {
    this.#expected = amount;
    this.onchange();
  }

  /** Look for something else. @param {Wanted} wanted */
  async start(wanted) {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#wanted = wanted;
    Object.assign(this, { entries: [], waiting: [], ready: false, failure: null });
    this.#known.clear();
    this.#next = null;
    this.#needed = 0;
    this.#expected = 0;
    this.#loading = null;
    await this.#run(FIRST);
  }

  /** Load as far as an entry, page by page; what was needed before no longer counts. @param {number} index */
  need(index) {
    this.#needed = index;
    if (this.complete || !this.ready || this.entries.length > index) return;
    if (this.failure && performance.now() - this.#failed < AGAIN) return;
    void this.#run(PAGE);
  }

  /** Load the next page. @returns {Promise<Entry[]>}  what it brought */
  async more() {
    const before = this.entries.length;
    if (this.#loading) await this.#loading;
    else if (!this.complete) await this.#run(PAGE, true);
    return this.entries.slice(before);
  }

  /** @param {number} limit @param {boolean} [once] */
  #run(limit, once = false) {
    if (this.#loading) return this.#loading;
    const loading = this.#pages(limit, once, this.#abort).finally(() => {
      if (this.#loading === loading) this.#loading = null; // and not that of a later start
    });
    return (this.#loading = loading);
  }

  /** @param {number} limit @param {boolean} once @param {AbortController} abort */
  async #pages(limit, once, abort) {
    try {
      do {
        const page = await get(`/v1/gallery${query({ ...this.#wanted, limit, after: this.#next })}`, abort.signal);
        if (abort.signal.aborted) return;
        this.entries.push(...this.#unknown(page.entries));
        this.#next = page.next;
        this.ready = true;
        this.failure = null;
        this.onchange();
      } while (!once && this.#next !== null && this.entries.length <= this.#needed);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.failure = error;
      this.#failed = performance.now();
      this.onchange();
      this.onfailure(error);
    }
  }

  /** Those that are not listed yet; now they are. @param {Entry[]} entries */
  #unknown(entries) {
    const found = entries.filter(({ id }) => !this.#known.has(id) && !this.isDoomed(id));
    for (const { id } of found) this.#known.add(id);
    return found;
  }

  /** Look for what was made since. */
  async look() {
    if (!this.ready) return;
    const abort = this.#abort;
    /** @type {Entry[]} */
    const found = [];
    let after = null;
    do {
      const page = await get(`/v1/gallery${query({ ...this.#wanted, limit: NEW, after })}`, abort.signal);
      if (abort.signal.aborted) return;
      const unknown = this.#unknown(page.entries);
      found.push(...unknown);
      after = unknown.length === page.entries.length ? page.next : null;
    } while (after !== null);
    this.waiting.unshift(...found);
    if (found.length) this.onchange();
  }

  /** Let in what waits. @returns {number}  how many */
  admit() {
    const { length } = this.waiting;
    this.entries.unshift(...this.waiting.splice(0));
    if (this.#expected) this.#expected += length;
    if (length) this.onchange();
    return length;
  }

  /** @param {string} id */
  indexOf(id) {
    return this.entries.findIndex((entry) => entry.id === id);
  }

  /** Change what is known of an entry. @param {string} id @param {Partial<Entry>} fields */
  change(id, fields) {
    const at = this.indexOf(id);
    if (at < 0) return;
    this.entries[at] = { ...this.entries[at], ...fields };
    this.onchange();
  }

  /** Take an entry out; it stays known, so that no page brings it back. @param {string} id */
  take(id) {
    const at = this.indexOf(id);
    if (at < 0) return this.#turnAway(id);
    const [entry] = this.entries.splice(at, 1);
    this.#taken.set(id, { entry, after: this.entries[at - 1]?.id ?? null, of: this.#abort });
    if (this.#expected) this.#expected -= 1;
    this.onchange();
  }

  /** Let an entry that waits not in. @param {string} id */
  #turnAway(id) {
    const left = this.waiting.filter((entry) => entry.id !== id);
    if (left.length === this.waiting.length) return;
    this.waiting = left;
    this.onchange();
  }

  /** Put an entry back to where it was. @param {string} id @returns {boolean}  false: it was taken from another result */
  putBack(id) {
    const taken = this.#taken.get(id);
    this.#taken.delete(id);
    if (taken?.of !== this.#abort) return false;
    const at = taken.after === null ? 0 : this.indexOf(taken.after) + 1;
    this.entries.splice(at, 0, taken.entry);
    if (this.#expected) this.#expected += 1;
    this.onchange();
    return true;
  }
}
