// Which picture of the stage the mouse or the focus is on, and when a menu is asked for: by a right click, the context menu key, or a finger that stays.

const LONG_PRESS = { time: 500, distance: 10 }; // milliseconds, and CSS pixels that the finger may move

/**
 * @param {HTMLElement} area  with cells of the class sl-slot
 * @param {{onpoint: (cell: HTMLElement | null) => void, onmenu: (cell: HTMLElement, place: import("../core/popover.js").Place) => void}} calls
 */
export function trackPointed(area, { onpoint, onmenu }) {
  /** @param {EventTarget | null} target @returns {HTMLElement | null} */
  const cellOf = (target) => (target instanceof Element ? target.closest(/** @type {"div"} */ (".sl-slot[data-picture]")) : null);
  const focusedCell = (/** @type {string} */ selector) => cellOf(area.querySelector(selector));
  area.addEventListener("pointerover", ({ target, pointerType }) => pointerType !== "touch" && onpoint(focusedCell(".sl-cell-actions :focus-visible") ?? cellOf(target)));
  area.addEventListener("pointerleave", () => onpoint(focusedCell(":focus-visible")));
  area.addEventListener("focusin", ({ target }) => onpoint(cellOf(target)));
  area.addEventListener("focusout", ({ relatedTarget }) => onpoint(cellOf(relatedTarget) ?? area.querySelector(/** @type {"div"} */ (".sl-slot[data-picture]:hover"))));
  trackMenu(area, cellOf, onmenu);
}

/**
 * @param {HTMLElement} area
 * @param {(target: EventTarget | null) => HTMLElement | null} cellOf  what has a menu
 * @param {(cell: HTMLElement, place: import("../core/popover.js").Place) => void} onmenu  called when it is asked for
 */
export function trackMenu(area, cellOf, onmenu) {
  let timer = 0, pressed = { x: 0, y: 0 }, held = false;
  const open = (/** @type {HTMLElement} */ cell, /** @type {import("../core/popover.js").Place} */ place) => {
    clearTimeout(timer);
    held = true;
    onmenu(cell, place);
  };
  area.addEventListener("pointerdown", ({ target, pointerType, clientX: x, clientY: y }) => {
    clearTimeout(timer);
    held = false;
    const cell = cellOf(target);
    if (pointerType !== "touch" || !cell) return;
    pressed = { x, y };
    timer = setTimeout(() => open(cell, pressed), LONG_PRESS.time);
  });
  area.addEventListener("pointermove", ({ clientX, clientY }) => Math.hypot(clientX - pressed.x, clientY - pressed.y) > LONG_PRESS.distance && clearTimeout(timer));
  for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) area.addEventListener(name, () => clearTimeout(timer));
  area.addEventListener("touchend", (event) => held && event.preventDefault()); // the press that opened the menu is no click, and does not take the focus from it
  area.addEventListener("contextmenu", (event) => {
    const cell = cellOf(event.target);
    if (!cell || event.shiftKey) return; // with Shift, the browser's own
    event.preventDefault();
    const { clientX: x, clientY: y } = event;
    if (!held) open(cell, x || y ? { x, y } : cell);
    held = /** @type {PointerEvent} */ (event).pointerType === "touch";
  });
}
