// Keeps the lists of the form with their pictures over a reload, in the browser's database: control units, references.

import { transact } from "../core/database.js";

/** @typedef {{list: readonly any[], set: (list: any[]) => void}} KeptList  an item's files are its picture's blob and its mask */

const DATABASE = "safelight.control", STORE = "units";
const DELAY = 300; // milliseconds after the last change
const MAX_BYTES = 128 << 20; // of a list's files

/**
 * Restore a list of the last visit, and store it when it changes.
 * @param {string} key  its name
 * @param {KeptList} kept
 * @param {string} owner  whose list it is; another one's is not restored
 * @param {(listener: () => void) => void} subscribe
 */
export async function keepList(key, kept, owner, subscribe) {
  /** @type {{owner: string, list: any[]} | undefined} */
  const stored = await transact(DATABASE, STORE, "readonly", (store) => store.get(key)).catch(() => undefined);
  if (stored?.owner === owner && !kept.list.length) kept.set(stored.list);
  let last = kept.list;
  let timer = 0;
  const storeNow = () => {
    clearTimeout(timer);
    timer = 0;
    void store(key, kept.list, owner);
  };
  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && timer && storeNow());
  subscribe(() => {
    if (kept.list === last) return;
    last = kept.list;
    clearTimeout(timer);
    timer = window.setTimeout(storeNow, DELAY);
  });
}

/** Forget all lists. */
export const clearLists = () => transact(DATABASE, STORE, "readwrite", (store) => store.clear());

/** @param {string} key @param {readonly any[]} list @param {string} owner */
async function store(key, list, owner) {
  const bytes = list.reduce((sum, { picture, mask }) => sum + (picture?.blob?.size ?? 0) + (mask?.size ?? 0), 0);
  const small = bytes <= MAX_BYTES ? list : list.map(withoutFiles);
  await transact(DATABASE, STORE, "readwrite", (database) => database.put({ owner, list: small }, key)).catch(() => {}); // a private window, or no space
}

/** @param {any} item */
const withoutFiles = (item) => ({ ...item, ...("picture" in item && { picture: item.picture?.blob ? null : item.picture }), ...("mask" in item && { mask: null }) });
