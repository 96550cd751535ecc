// The pictures of lists that this browser has kept with a job, as the form takes them.

import { get } from "../core/api.js";
import { sizeOf } from "./picture_box.js";

/** @typedef {import("./units.js").UnitPicture} UnitPicture */

const GALLERY = "gallery:"; // before the id of an entry

/** @param {import("../actions/inputs.js").KeptItem[]} items  as they were kept @returns {Promise<(UnitPicture | null)[]>}  null: there is none, or no longer */
export function keptPictures(items) {
  return Promise.all(items.map(async ({ image }) => {
    if (!image) return null;
    if (!image.startsWith(GALLERY)) return fromFile(fileOf(image));
    const id = image.slice(GALLERY.length);
    const entry = await get(`/v1/gallery/${id}`).catch(() => null); // it may have been deleted
    return entry && { blob: null, entry: id, width: entry.width, height: entry.height };
  }));
}

/** @param {import("../actions/inputs.js").KeptItem[]} items  as they were kept @returns {(Blob | null)[]}  null: there is none */
export const keptMasks = (items) => items.map(({ mask }) => (mask && !mask.startsWith(GALLERY) ? fileOf(mask) : null));

/** @param {string} base64 */
const fileOf = (base64) => new Blob([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))]);

/** @param {Blob} blob @returns {Promise<UnitPicture | null>} */
async function fromFile(blob) {
  const size = await sizeOf(blob);
  return size && { blob, entry: null, ...size };
}
