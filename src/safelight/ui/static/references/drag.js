// Drag a chip among others that may stand in several lines, with mouse, pen or finger.

const THRESHOLD = 6; // CSS pixels that the pointer moves before it drags

/**
 * Follow a pressed pointer until it is released.
 * @param {PointerEvent} press
 * @param {HTMLElement} chip
 * @param {HTMLElement[]} chips  all that it may take the place of, in their order
 * @param {(to: number) => void} ondrop  gets its new index, if it is another
 */
export function dragChip(press, chip, chips, ondrop) {
  if (press.button !== 0) return;
  const boxes = chips.map((each) => each.getBoundingClientRect());
  const from = chips.indexOf(chip);
  let to = from, dragging = false;
  const stop = new AbortController();
  const { signal } = stop;

  const move = (/** @type {PointerEvent} */ event) => {
    const x = event.clientX - press.clientX, y = event.clientY - press.clientY;
    if (!dragging && Math.hypot(x, y) < THRESHOLD) return;
    if (!dragging) chip.setPointerCapture(press.pointerId);
    dragging = true;
    chip.classList.add("sl-dragged");
    const middle = { x: (boxes[from].left + boxes[from].right) / 2 + x, y: (boxes[from].top + boxes[from].bottom) / 2 + y };
    const distance = (/** @type {DOMRect} */ { left, right, top, bottom }) => Math.hypot((left + right) / 2 - middle.x, (top + bottom) / 2 - middle.y);
    to = boxes.reduce((best, box, at) => (distance(box) < distance(boxes[best]) ? at : best), from);
    chips.forEach((each, at) => {
      const place = at === from ? at : at > from && at <= to ? at - 1 : at < from && at >= to ? at + 1 : at;
      const by = at === from ? { x, y } : { x: boxes[place].left - boxes[at].left, y: boxes[place].top - boxes[at].top };
      each.style.transform = by.x || by.y ? `translate(${by.x}px, ${by.y}px)` : "";
    });
  };
  const end = (/** @type {boolean} */ dropped) => {
    stop.abort();
    chip.classList.remove("sl-dragged");
    for (const each of chips) each.style.transform = "";
    if (!dragging) return;
    const swallow = (/** @type {Event} */ event) => (event.preventDefault(), event.stopPropagation());
    chip.addEventListener("click", swallow, true); // that the release makes
    setTimeout(() => chip.removeEventListener("click", swallow, true));
    if (dropped && to !== from) ondrop(to);
  };
  chip.addEventListener("pointermove", move, { signal });
  chip.addEventListener("pointerup", () => end(true), { signal });
  chip.addEventListener("pointercancel", () => end(false), { signal });
}
