// The pictures and masks that this browser's jobs started from, by job: the server deletes them when the job ends, and "same seed" and "vary" need them.

import { transact } from "../core/database.js";
import { LISTS } from "../form/list_field.js";

/** @typedef {Partial<Record<"image" | "mask", string | null>>} KeptItem  the files of an item of a list */
/**
 * Files in base64, or gallery: and an id; init_image: null if it is the parent's.
 * @typedef {{owner: string, init_image: string | null, mask: string | null} & Partial<Record<import("../form/list_field.js").ListName, KeptItem[]>>} Inputs
 */

const DATABASE = "safelight.inputs", STORE = "jobs";
const MAX_JOBS = 50;
const MAX_LENGTH = 64 << 20; // characters of one job's

/** Keep the inputs of a job. @param {{id: string, owner: string}} job @param {import("../types").Fields & {parent?: string | null}} request */
export async function keepInputs({ id, owner }, request) {
  const { init_image, mask, parent } = request;
  const isParents = !!parent || init_image?.startsWith("gallery:");
  const lists = LISTS.map((name) => ({ name, items: (request[name] ?? []).map(keptItem) }));
  /** @type {Inputs} */
  const inputs = { owner, init_image: isParents ? null : (init_image ?? null), mask: mask ?? null, ...Object.fromEntries(lists.map(({ name, items }) => [name, items])) };
  const files = [inputs.init_image, inputs.mask, ...lists.flatMap(({ items }) => items.flatMap((item) => [item.image, item.mask]))];
  const length = files.reduce((sum, file) => sum + (file?.length ?? 0), 0);
  if (!length || length > MAX_LENGTH) return;
  try {
    await transact(DATABASE, STORE, "readwrite", (store) => {
      store.put(inputs, id);
      const keys = store.getAllKeys();
      keys.onsuccess = () => keys.result.slice(0, -MAX_JOBS).forEach((key) => store.delete(key)); // the ids of older jobs are smaller
    });
  } catch {
    // A private window, or no space: such a picture cannot be generated again.
  }
}

/** @param {KeptItem} item @returns {KeptItem} */
const keptItem = ({ image = null, mask = null }) => ({ image, mask });

/** The inputs of a job; null: this browser does not have them. @param {string} id @param {string} owner @returns {Promise<Inputs | null>} */
export async function inputsOf(id, owner) {
  /** @type {Inputs | undefined} */
  const found = await transact(DATABASE, STORE, "readonly", (store) => store.get(id)).catch(() => undefined);
  return found?.owner === owner ? found : null;
}

/** Forget all inputs. */
export const clearInputs = () => transact(DATABASE, STORE, "readwrite", (store) => store.clear());
