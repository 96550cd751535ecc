// A picture as the editor shows it: decoded once, with smaller copies so that drawing it is quick at every zoom.

/** @typedef {{width: number, height: number}} Size */
/** @typedef {{blob: Blob, size: Size, levels: ImageBitmap[]}} DecodedPicture  levels: the largest first */

const MAX_SIDE = 4096; // longer side of what is kept for showing, pixels
const MIN_LEVEL_SIDE = 1024; // no copies below this

/**
 * Decode a picture, upright.
 * @param {Blob} blob
 * @returns {Promise<DecodedPicture>}
 * @throws {DOMException}  The browser cannot read it.
 */
export async function decode(blob) {
  const whole = await createImageBitmap(blob);
  const size = { width: whole.width, height: whole.height };
  let level = await shrink(whole, MAX_SIDE / longerSide(size));
  if (level !== whole) whole.close();
  const levels = [level];
  while (longerSide(level) > MIN_LEVEL_SIDE) levels.push((level = await shrink(level, 1 / 2)));
  return { blob, size, levels };
}

/**
 * The smallest copy that is still sharp.
 * @param {ImageBitmap[]} levels
 * @param {number} width  pixels of the screen it will cover
 */
export const levelFor = (levels, width) => levels.findLast((level) => level.width >= width) ?? levels[0];

/** @param {ImageBitmap} image @param {number} by  1 or more leaves it as it is */
async function shrink(image, by) {
  if (by >= 1) return image;
  const resizeWidth = Math.max(1, Math.round(image.width * by)), resizeHeight = Math.max(1, Math.round(image.height * by));
  return createImageBitmap(image, { resizeWidth, resizeHeight, resizeQuality: "medium" });
}

/** @param {Size} size */
export const longerSide = ({ width, height }) => Math.max(width, height);
