// One picture in the grid: light while it is scrolled past, whole as soon as somebody looks at it.

import { h, icon } from "../core/dom.js";
import { decisionBadge, thumbnailUrl } from "../core/picture.js";
import { t } from "../core/text.js";

/** @typedef {import("../types").GalleryEntry} Entry */
/** @typedef {HTMLElement & {entry?: Entry | null, loaded?: boolean}} Tile */

const MAX_LABEL_LENGTH = 120; // of a prompt, that a screen reader says

/**
 * A tile without anything that costs: no picture, no buttons.
 * @param {Entry | undefined} entry  undefined: not loaded yet
 * @returns {Tile}
 */
export function makeTile(entry) {
  /** @type {Tile} */
  const tile = document.createElement("div");
  tile.className = entry ? "sl-tile" : "sl-tile sl-tile-blank";
  tile.setAttribute("role", "gridcell");
  tile.tabIndex = -1;
  tile.entry = entry ?? null;
  if (!entry) tile.setAttribute("aria-label", t("gallery.tile.loading"));
  else tile.setAttribute("aria-label", accessibleName(entry));
  return tile;
}

/** Give a tile its picture and marks. @param {Tile} tile @param {boolean} near  whether it is on the screen, not only close to it */
export function loadTile(tile, near) {
  const { entry } = tile;
  if (!entry || tile.loaded) return;
  tile.loaded = true;
  const unavailable = entry.decision === "block" || entry.missing;
  tile.append(
    unavailable ? h("span", { class: "sl-tile-gone" }, icon(entry.missing ? "warning" : "shield"), entry.missing && t("picture.missing")) : thumbnailElement(entry, near),
    decisionBadge({ decision: entry.decision, unsafe: null }),
    favouriteButton(entry),
  );
}

/** Stop what a tile is still loading, as it is out of sight. @param {Tile} tile */
export function cancelLoading(tile) {
  const image = tile.querySelector("img");
  if (image && !image.complete) image.removeAttribute("src");
}

/** Show that its file could not be had. @param {Tile} tile */
export function showBroken(tile) {
  tile.querySelector("img")?.replaceWith(h("span", { class: "sl-tile-gone" }, icon("warning"), t("gallery.tile.broken")));
}

/** What the tile shows of an entry beside its pixels. @param {Tile} tile @param {Entry} entry */
export function updateTile(tile, entry) {
  tile.entry = entry;
  tile.querySelector(".sl-heart")?.setAttribute("aria-pressed", String(entry.favourite));
  tile.setAttribute("aria-label", accessibleName(entry));
}

/** Its press is heard by the grid. @param {Entry} entry */
const favouriteButton = ({ favourite }) =>
  h("button", { type: "button", class: "sl-button sl-bare sl-heart", tabindex: "-1", "aria-pressed": String(favourite), "aria-label": t("gallery.favourite"), title: t("gallery.favourite") }, icon("heart"));

/** @param {Entry} entry @param {boolean} near */
function thumbnailElement({ id, decision }, near) {
  const blurred = decision === "review"; // sixteen pixels are all that is fetched of it
  const image = h("img", { class: "sl-tile-picture", alt: "", decoding: "async", draggable: "false", fetchpriority: near ? "auto" : "low", src: thumbnailUrl(id, blurred ? 16 : 256) });
  if (!blurred) return image;
  return h("span", { class: "sl-tile-veiled" }, image, icon("eye"));
}

/** @param {Entry} entry */
function accessibleName({ prompt, decision, favourite }) {
  const text = prompt ? (prompt.length > MAX_LABEL_LENGTH ? `${prompt.slice(0, MAX_LABEL_LENGTH)}…` : prompt) : t("picture.unnamed");
  const states = [t(`decision.${decision}`), favourite && t("gallery.favourite")].filter(Boolean);
  return [text, ...states].join(", ");
}
