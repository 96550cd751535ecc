// A tile of the grid: cheap while the user scrolls past, with its thumbnail and buttons once it is loaded.

import { h, icon } from "../core/dom.js";
import { decisionBadge, thumbnailUrl } from "../core/picture.js";
import { t } from "../core/text.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {HTMLElement & {entry?: GalleryEntry | null, loaded?: boolean}} Tile */

const MAX_LABEL_LENGTH = 120; // characters of the prompt in the accessible name

/**
 * Create a tile without its thumbnail and buttons.
 * @param {GalleryEntry | undefined} entry  undefined: not loaded yet
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

/** Add the thumbnail and the buttons. @param {Tile} tile @param {boolean} near  whether it is visible, not only close to the visible area @param {number} side  the thumbnail's, in pixels */
export function loadTile(tile, near, side) {
  const { entry } = tile;
  if (!entry || tile.loaded) return;
  tile.loaded = true;
  const unavailable = entry.decision === "block" || entry.missing;
  tile.append(
    unavailable ? h("span", { class: "sl-tile-gone" }, icon(entry.missing ? "warning" : "shield"), entry.missing && t("picture.missing")) : thumbnailElement(entry, near, side),
    decisionBadge({ decision: entry.decision, unsafe: null }),
    favouriteButton(entry),
    checkButton(),
  );
}

/** Cancel the download of a tile's thumbnail. @param {Tile} tile */
export function cancelLoading(tile) {
  const image = tile.querySelector("img");
  if (image && !image.complete) image.removeAttribute("src");
}

/** Show that the thumbnail could not be loaded. @param {Tile} tile */
export function showBroken(tile) {
  tile.querySelector("img")?.replaceWith(h("span", { class: "sl-tile-gone" }, icon("warning"), t("gallery.tile.broken")));
}

/** Update what a tile shows besides the thumbnail. @param {Tile} tile @param {GalleryEntry} entry */
export function updateTile(tile, entry) {
  tile.entry = entry;
  tile.querySelector(".sl-heart")?.setAttribute("aria-pressed", String(entry.favourite));
  tile.setAttribute("aria-label", accessibleName(entry));
}

/** Clicks are handled by the grid. @param {GalleryEntry} entry */
const favouriteButton = ({ favourite }) =>
  h("button", { type: "button", class: "sl-button sl-bare sl-heart", tabindex: "-1", "aria-pressed": String(favourite), "aria-label": t("gallery.favourite"), title: t("gallery.favourite") }, icon("heart"));

/** A round check mark; whether it is set is the tile's aria-selected. */
const checkButton = () => h("button", { type: "button", class: "sl-button sl-bare sl-check", tabindex: "-1", "aria-label": t("selection.toggle"), title: t("selection.toggle") }, icon("check"));

/** @param {GalleryEntry} entry @param {boolean} near @param {number} side */
function thumbnailElement({ id, decision }, near, side) {
  const blurred = decision === "review"; // only a thumbnail of 16 pixels is loaded
  const image = h("img", { class: "sl-tile-picture", alt: "", decoding: "async", draggable: "false", fetchpriority: near ? "auto" : "low", src: thumbnailUrl(id, blurred ? 16 : side) });
  if (!blurred) return image;
  return h("span", { class: "sl-tile-blurred" }, image, icon("eye"));
}

/** @param {GalleryEntry} entry */
function accessibleName({ prompt, decision, favourite }) {
  const text = prompt ? (prompt.length > MAX_LABEL_LENGTH ? `${prompt.slice(0, MAX_LABEL_LENGTH)}…` : prompt) : t("picture.unnamed");
  const states = [t(`decision.${decision}`), favourite && t("gallery.favourite")].filter(Boolean);
  return [text, ...states].join(", ");
}
