// How pictures are displayed: blocked ones as a note with the reason, those for review blurred until the user clicks.

import { h, icon } from "./dom.js";
import { formatPercent, t } from "./text.js";

/** @typedef {{id: string, width: number, height: number, decision: import("../types").Decision, unsafe: number | null,
 *   prompt?: string, seed?: number | null, missing?: boolean}} DisplayedPicture */

/** URLs of a picture's file and thumbnails. @param {string} id */
export const fileUrl = (id) => `/v1/gallery/${id}/file`;
/** @param {string} id @param {number} [side] */
export const thumbnailUrl = (id, side = 256) => `/v1/gallery/${id}/thumbnail?side=${side}`;

/** A badge with the policy's decision. @param {{decision: string, unsafe: number | null}} picture */
export function decisionBadge({ decision, unsafe }) {
  const score = unsafe === null ? "" : ` · ${formatPercent(unsafe, unsafe < 0.1 ? 1 : 0)}`;
  return h(
    "span",
    { class: `sl-badge sl-${decision}`, title: unsafe === null ? null : t("badge.score", { score: formatPercent(unsafe, 1) }) },
    icon(decision === "allow" ? "check" : decision === "error" ? "warning" : "shield"),
    h("span", {}, t(`decision.${decision}`) + score),
  );
}

/**
 * A picture in a frame with its aspect ratio.
 * @param {DisplayedPicture} picture
 * @param {{src: string, onopen?: () => void, lazy?: boolean}} options  onopen: called when the user clicks the picture
 * @returns {HTMLElement}
 */
export function pictureFrame(picture, { src, onopen, lazy = true }) {
  const style = `aspect-ratio: ${picture.width} / ${picture.height}`;
  if (picture.decision === "block" || picture.missing) {
    const textKey = picture.missing ? "picture.missing" : "picture.blocked";
    const reason = picture.unsafe === null ? t(textKey) : t(`${textKey}.score`, { score: formatPercent(picture.unsafe, 1) });
    return h("div", { class: "sl-frame sl-withheld", style }, icon("shield"), h("p", {}, picture.missing ? t(textKey) : reason));
  }
  const name = picture.prompt || t("picture.unnamed");
  const image = h("img", { src, alt: name, loading: lazy ? "lazy" : null, decoding: "async", draggable: "false" });
  const frame = h("button", { type: "button", class: "sl-frame", style, "aria-label": t("picture.open", { name }) }, image);
  let blurred = picture.decision === "review";
  if (blurred) {
    const cover = h("span", { class: "sl-blur-cover" }, icon("eye"), t("picture.review"));
    frame.classList.add("sl-blurred");
    frame.setAttribute("aria-label", t("picture.review")); // the same as the visible text
    frame.append(cover);
  }
  frame.addEventListener("click", () => {
    if (!blurred) return onopen?.();
    blurred = false;
    frame.classList.remove("sl-blurred");
    frame.querySelector(".sl-blur-cover")?.remove();
    frame.setAttribute("aria-label", t("picture.open", { name }));
  });
  const brokenNote = h("span", { class: "sl-broken-says" }, icon("warning"), h("span", {}, t("picture.broken")));
  image.addEventListener("error", () => {
    frame.classList.add("sl-broken");
    frame.append(brokenNote);
  });
  image.addEventListener("load", () => {
    frame.classList.remove("sl-broken");
    brokenNote.remove();
  });
  return frame;
}
