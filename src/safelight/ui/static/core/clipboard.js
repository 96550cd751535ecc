// Copy text and pictures to the clipboard; text also over plain HTTP, where browsers hide navigator.clipboard.

import { ApiError } from "./api.js";
import { h } from "./dom.js";
import { t } from "./text.js";

/**
 * Copy text; call it from a user's click or key press.
 * @param {string} text
 * @throws {Error}  The browser refused access to the clipboard.
 */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const field = h("textarea", { class: "sl-hidden", readonly: true, value: text });
  const parent = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body; // an element outside an open modal dialog cannot be focused
  parent.append(field);
  field.focus({ preventScroll: true });
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  if (!copied) throw new Error("This browser lets nothing into the clipboard.");
}

/**
 * Copy a picture as PNG, the only format that all browsers take; call it from a user's click or key press.
 * @param {Promise<Blob>} picture
 * @throws {ApiError}  The picture could not be loaded, or the browser refused access to the clipboard.
 */
export async function copyPicture(picture) {
  try {
    const png = picture.then((blob) => (blob.type === "image/png" ? blob : convertToPng(blob)));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]); // a promise, as Safari forgets the user's press while it waits
  } catch {
    await picture; // throws why it could not be loaded
    throw new ApiError({ code: "page.clipboard", message: t("copied.not"), hint: t("copied.not.hint") }, 0);
  }
}

/** @param {Blob} blob @returns {Promise<Blob>} */
async function convertToPng(blob) {
  const image = await createImageBitmap(blob);
  const canvas = h("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d")?.drawImage(image, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((png) => (png ? resolve(png) : reject(new Error("This picture cannot be written as PNG.")))));
}
