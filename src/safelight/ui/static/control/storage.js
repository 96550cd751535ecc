// Keeps the units with their pictures over a reload, in the browser's database.

import { transact } from "../core/database.js";

/** @typedef {import("./units.js").Unit} Unit */

const DATABASE = "safelight.control", STORE = "units", KEY = "units";
const DELAY = 300; // milliseconds after the last change
const MAX_BYTES = 128 << 20; // of all pictures

/**
 * Restore the units of the last visit, and store them when they change.
 * @param {import("./units.js").Units} units
 * @param {string} owner  whose units they are; another one's are not restored
 * @param {(listener: () => void) => void} subscribe
 */
export async function keepUnits(units, owner, subscribe) {
  /** @type {{owner: string, list: Unit[]} | undefined} */
  const stored = await transact(DATABASE, STORE, "readonly", (store) => store.get(KEY)).catch(() => undefined);
  if (stored?.owner === owner && !units.list.length) units.set(stored.list);
  let kept = units.list;
  let timer = 0;
  const storeNow = () => {
    clearTimeout(timer);
    timer = 0;
    void store(units.list, owner);
  };
  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && timer && storeNow());
  subscribe(() => {
    if (units.list === kept) return;
    kept = units.list;
    clearTimeout(timer);
    timer = window.setTimeout(storeNow, DELAY);
  });
}

/** Forget them. */
export const clearUnits = () => transact(DATABASE, STORE, "readwrite", (store) => store.clear());

/** @param {readonly Unit[]} list @param {string} owner */
async function store(list, owner) {
  const bytes = list.reduce((sum, { picture, mask }) => sum + (picture?.blob?.size ?? 0) + (mask?.size ?? 0), 0);
  const small = bytes <= MAX_BYTES ? list : list.map((unit) => ({ ...unit, picture: unit.picture?.blob ? null : unit.picture, mask: null }));
  await transact(DATABASE, STORE, "readwrite", (database) => database.put({ owner, list: small }, KEY)).catch(() => {}); // a private window, or no space
}
