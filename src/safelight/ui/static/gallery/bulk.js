// Requests about many pictures at once, in as many as the server accepts in one.

import { ApiError, read, readBlob, request } from "../core/api.js";
import { h } from "../core/dom.js";
import { fileUrl } from "../core/picture.js";

/**
 * @typedef {{favourite?: boolean, add_tags?: string[], remove_tags?: string[], add_to?: string[], remove_from?: string[]}} Change
 * @typedef {{id: string, error: import("../types").ErrorBody | null, favourite: boolean, tags: string[], collections: string[]}} Marks
 */

export const MAX_IDS = 1000; // in one request
const ARCHIVE_NAME = "safelight-pictures.zip";
const REVOKE_DELAY = 60_000; // milliseconds after which a saved archive's data are released

/**
 * Change the marks of pictures.
 * @param {string[]} ids
 * @param {Change} change
 * @returns {Promise<Marks[]>}  the marks of those that were changed
 * @throws {ApiError}  None could be changed.
 */
export async function mark(ids, change) {
  /** @type {Marks[]} */
  const results = [];
  for (const some of batches(ids)) results.push(...(await read(await request("PATCH", "/v1/gallery", { json: { ids: some, ...change } }))).results);
  const changed = results.filter(({ error }) => !error);
  const failure = results.find(({ error }) => error)?.error;
  if (failure && !changed.length) throw new ApiError(failure, 0);
  return changed;
}

/** Delete pictures at once. @param {string[]} ids @returns {Promise<{id: string, error: import("../types").ErrorBody | null}[]>}  what happened to each */
export async function deleteNow(ids) {
  const results = [];
  for (const some of batches(ids)) results.push(...(await read(await request("POST", "/v1/gallery/delete", { json: { ids: some }, keepalive: true }))).results);
  return results;
}

/** Download a picture's file. @param {import("../types").GalleryEntry} entry */
export function downloadFile({ id, kind }) {
  save(fileUrl(id), `${id}.${kind === "jpeg" ? "jpg" : (kind ?? "png")}`);
}

/** Download pictures as a zip archive; the browser keeps it on the disk if it is large. @param {string[]} ids  at most MAX_IDS */
export async function downloadZip(ids) {
  const url = URL.createObjectURL(await readBlob(await request("POST", "/v1/gallery/download", { json: { ids } })));
  save(url, ARCHIVE_NAME);
  setTimeout(() => URL.revokeObjectURL(url), REVOKE_DELAY);
}

/** @param {string} href @param {string} download  the file's name */
function save(href, download) {
  h("a", { href, download }).click();
}

/** @param {string[]} ids @returns {Iterable<string[]>} */
function* batches(ids) {
  for (let start = 0; start < ids.length; start += MAX_IDS) yield ids.slice(start, start + MAX_IDS);
}
