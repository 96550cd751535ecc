// The pictures of lists that this browser has kept with a job, as the form takes them.

import { get } from "../core/api.js";
import { sizeOf } from "./picture_box.js";

/** @typedef {import("./units.js").UnitPicture} UnitPicture */

const GALLERY = "gallery:"; // before the id of an entry

/** @param {import("../actions/inputs.js").KeptItem[]} items  as they were kept @returns {Promise<(UnitPicture | null)[]>}  null: there is none, or no longer */
export function keptPictures(items) {
  return Promise.all(items.map(async ({ image }) => {
    if (!image) return null;
    if (!image.startsWith(GALLERY)) return fromFile(new Blob([Uint8Array.from(atob(image), (char) => char.charCodeAt(0))]));
    const id = image.slice(GALLERY.length);
    const entry = await get(`/v1/gallery/${id}`).catch(() => null); // it may have been deleted
    return entry && { blob: null, entry: id, width: entry.width, height: entry.height };
  }));
}

/** @param {Blob} blob @returns {Promise<UnitPicture | null>} */
async function fromFile(blob) {
  const size = await sizeOf(blob);
  return size && { blob, entry: null, ...size };
}
