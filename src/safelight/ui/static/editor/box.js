// Rectangles of whole or broken pixels: left, top, right, bottom; right and bottom are the first outside.

/** @typedef {[left: number, top: number, right: number, bottom: number]} Box */

/** What holds both. @param {Box | null} one @param {Box | null} other @returns {Box | null} */
export function union(one, other) {
  if (!one || !other) return one ?? other;
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

/**
 * The whole pixels it touches inside a canvas, or null where it lies beside it.
 * @param {Box} box @param {{width: number, height: number}} canvas @param {number} [around]  so many pixels more on every side
 * @returns {Box | null}
 */
export function clipped([left, top, right, bottom], { width, height }, around = 0) {
  /** @type {Box} */
  const box = [
    Math.max(0, Math.floor(left) - around), Math.max(0, Math.floor(top) - around),
    Math.min(width, Math.ceil(right) + around), Math.min(height, Math.ceil(bottom) + around),
  ];
  return box[0] < box[2] && box[1] < box[3] ? box : null;
}
