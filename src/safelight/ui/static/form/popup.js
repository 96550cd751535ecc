// Where a popup stands: below the element that it belongs to, or above it where there is more room.

const GAP = 4, EDGE = 8; // CSS pixels between popup and element, and to the window's edge

/**
 * Place an open popup.
 * @param {HTMLElement} popup  with a fixed position
 * @param {HTMLElement} anchor
 * @param {number} [maxHeight]  CSS pixels
 */
export function place(popup, anchor, maxHeight = 360) {
  const { left, top, bottom } = anchor.getBoundingClientRect();
  popup.style.maxHeight = ""; // for its full height
  const [above, below] = [top - GAP - EDGE, innerHeight - bottom - GAP - EDGE];
  const upwards = below < Math.min(maxHeight, popup.scrollHeight) && above > below;
  popup.style.maxHeight = `${Math.min(maxHeight, upwards ? above : below)}px`;
  const { width, height } = popup.getBoundingClientRect();
  popup.style.left = `${Math.max(EDGE, Math.min(left, innerWidth - width - EDGE))}px`;
  popup.style.top = `${upwards ? top - GAP - height : bottom + GAP}px`;
}
