// Drag a row of a list to another place, with mouse, pen or finger.

const EDGE = 40; // pixels from the edge of the scrolled area within which it scrolls
const SCROLL_STEP = 8; // pixels for each movement of the pointer there

/**
 * Follow the pointer until it is released.
 * @param {PointerEvent} event  the press on the row's handle
 * @param {HTMLElement} row
 * @param {HTMLElement} scroller  the scrolled element around the list
 * @param {{ondrop: (to: number) => void, onend: () => void}} calls  ondrop: gets the row's new index, if it is another; onend: also after a cancelled drag
 */
export function dragRow(event, row, scroller, { ondrop, onend }) {
  const handle = /** @type {HTMLElement} */ (event.currentTarget);
  const rows = [.../** @type {HTMLElement} */ (row.parentElement).children].filter((each) => each instanceof HTMLElement);
  const from = rows.indexOf(row);
  const middles = rows.map((each) => each.offsetTop + each.offsetHeight / 2);
  const start = event.clientY + scroller.scrollTop;
  let to = from;

  const move = (/** @type {PointerEvent} */ { clientY }) => {
    const { top, bottom } = scroller.getBoundingClientRect();
    scroller.scrollTop += clientY < top + EDGE ? -SCROLL_STEP : clientY > bottom - EDGE ? SCROLL_STEP : 0;
    const by = clientY + scroller.scrollTop - start;
    to = middles.filter((middle, at) => at !== from && middle < middles[from] + by).length;
    rows.forEach((each, at) => {
      const aside = at > from && at <= to ? -1 : at < from && at >= to ? 1 : 0;
      each.style.transform = `translateY(${at === from ? by : aside * row.offsetHeight}px)`;
    });
  };
  const end = (/** @type {boolean} */ dropped) => {
    stop.abort();
    row.classList.remove("sl-dragged");
    for (const each of rows) each.style.transform = "";
    if (dropped && to !== from) ondrop(to);
    onend();
  };
  const stop = new AbortController();
  const { signal } = stop;
  row.classList.add("sl-dragged");
  handle.setPointerCapture(event.pointerId);
  handle.addEventListener("pointermove", move, { signal });
  handle.addEventListener("pointerup", () => end(true), { signal });
  handle.addEventListener("pointercancel", () => end(false), { signal });
  handle.addEventListener("keydown", (press) => {
    if (press.key !== "Escape") return;
    press.stopPropagation();
    end(false);
  }, { signal });
}
