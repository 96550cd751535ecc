// Where a picture comes from: the one that it was made from, and those that were made from it, as small pictures.

import { get } from "../core/api.js";
import { h, icon } from "../core/dom.js";
import { thumbnailUrl } from "../core/picture.js";
import { t } from "../core/text.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {{source: GalleryEntry | null, derived: GalleryEntry[]}} Lineage */

const MAX_DERIVED = 12;
const THUMBNAIL_SIDE = 128, BLURRED_SIDE = 16; // pixels

/** Load a picture's lineage. @param {GalleryEntry} entry @returns {Promise<Lineage>} */
export async function loadLineage({ id, parent_id: parent }) {
  const [source, { entries }] = await Promise.all([parent ? get(`/v1/gallery/${parent}`).catch(() => null) : null, get(`/v1/gallery?parent=${id}&limit=${MAX_DERIVED}`)]);
  return { source, derived: entries };
}

/**
 * A picture's lineage; null if it has none.
 * @param {GalleryEntry} entry
 * @param {Lineage} lineage
 * @param {(entry: GalleryEntry) => void} onopen
 */
export function lineageList({ relation }, { source, derived }, onopen) {
  if (!source && !derived.length) return null;
  return h("ul", { class: "sl-lineage" },
    source && lineageItem(source, t("lineage.source"), relation ? t(`lineage.by.${relation}`) : "", onopen),
    derived.map((each) => lineageItem(each, t(`lineage.${each.relation ?? "again"}`), "", onopen)));
}

/** @param {GalleryEntry} entry @param {string} name @param {string} hint @param {(entry: GalleryEntry) => void} onopen */
function lineageItem(entry, name, hint, onopen) {
  const { id, decision, missing, width, height } = entry;
  const hasFile = decision !== "block" && !missing;
  const image = hasFile ? h("img", { src: thumbnailUrl(id, decision === "review" ? BLURRED_SIDE : THUMBNAIL_SIDE), alt: "", loading: "lazy", decoding: "async", draggable: "false" }) : icon(missing ? "warning" : "shield");
  return h("li", {}, h("button", { type: "button", "data-picture": id, title: [name, hint, hasFile && `${width} × ${height}`].filter(Boolean).join(" · "), onclick: () => onopen(entry) },
    h("span", { class: `sl-lineage-image${decision === "review" ? " sl-lineage-blurred" : ""}` }, image), h("span", {}, name)));
}
