// One picture in the grid: light while it is scrolled past, whole as soon as somebody looks at it.

import { h, icon } from "../core/dom.js";
import { badge, thumbnailOf } from "../core/picture.js";
import { t } from "../core/text.js";

/** @typedef {import("../types").Entry} Entry */
/** @typedef {HTMLElement & {entry?: Entry | null, dressed?: boolean}} Tile */

const WORDS = 120; // of a prompt, that a screen reader says

/**
 * A tile without anything that costs: no picture, no buttons.
 * @param {Entry | undefined} entry  undefined: not loaded yet
 * @returns {Tile}
 */
export function bareTile(entry) {
  /** @type {Tile} */
  const tile = document.createElement("div");
  tile.className = entry ? "sl-tile" : "sl-tile sl-tile-blank";
  tile.setAttribute("role", "gridcell");
  tile.tabIndex = -1;
  tile.entry = entry ?? null;
  if (!entry) tile.setAttribute("aria-label", t("gallery.tile.loading"));
  else tile.setAttribute("aria-label", nameOf(entry));
  return tile;
}

/** Give a tile its picture and marks. @param {Tile} tile @param {boolean} near  whether it is on the screen, not only close to it */
export function dress(tile, near) {
  const { entry } = tile;
  if (!entry || tile.dressed) return;
  tile.dressed = true;
  const gone = entry.decision === "block" || entry.missing;
  tile.append(
    gone ? h("span", { class: "sl-tile-gone" }, icon(entry.missing ? "warning" : "shield"), entry.missing && t("picture.missing")) : pictureOf(entry, near),
    badge({ decision: entry.decision, unsafe: null }),
    heartOf(entry),
  );
}

/** Stop what a tile is still loading, as it is out of sight. @param {Tile} tile */
export function undress(tile) {
  const image = tile.querySelector("img");
  if (image && !image.complete) image.removeAttribute("src");
}

/** Show that its file could not be had. @param {Tile} tile */
export function breakTile(tile) {
  tile.querySelector("img")?.replaceWith(h("span", { class: "sl-tile-gone" }, icon("warning"), t("gallery.tile.broken")));
}

/** What the tile shows of an entry beside its pixels. @param {Tile} tile @param {Entry} entry */
export function remark(tile, entry) {
  tile.entry = entry;
  tile.querySelector(".sl-heart")?.setAttribute("aria-pressed", String(entry.favourite));
  tile.setAttribute("aria-label", nameOf(entry));
}

/** Its press is heard by the grid. @param {Entry} entry */
const heartOf = ({ favourite }) =>
  h("button", { type: "button", class: "sl-button sl-bare sl-heart", tabindex: "-1", "aria-pressed": String(favourite), "aria-label": t("gallery.favourite"), title: t("gallery.favourite") }, icon("heart"));

/** @param {Entry} entry @param {boolean} near */
function pictureOf({ id, decision }, near) {
  const veiled = decision === "review"; // sixteen pixels are all that is fetched of it
  const image = h("img", { class: "sl-tile-picture", alt: "", decoding: "async", draggable: "false", fetchpriority: near ? "auto" : "low", src: thumbnailOf(id, veiled ? 16 : 256) });
  if (!veiled) return image;
  return h("span", { class: "sl-tile-veiled" }, image, icon("eye"));
}

/** @param {Entry} entry */
function nameOf({ prompt, decision, favourite }) {
  const words = prompt ? (prompt.length > WORDS ? `${prompt.slice(0, WORDS)}…` : prompt) : t("picture.unnamed");
  const marks = [t(`decision.${decision}`), favourite && t("gallery.favourite")].filter(Boolean);
  return [words, ...marks].join(", ");
}
