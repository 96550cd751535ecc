// Mouse, pen and touch on the stage: one pointer paints, two pan and zoom; the wheel zooms; the space key or the middle button pans.

/** @typedef {import("./viewport.js").Point} Point */
/**
 * Callbacks for gestures; points are relative to the stage, in CSS pixels.
 * @typedef {object} GestureHandlers
 * @property {() => boolean} paints  whether a press paints, rather than pans
 * @property {(at: Point, event: PointerEvent) => void} begin
 * @property {(at: Point, event: PointerEvent) => void} extend
 * @property {() => void} end
 * @property {() => void} cancel  discard the unfinished stroke
 * @property {(x: number, y: number) => void} move
 * @property {(factor: number, at: Point) => void} zoom
 * @property {(at: Point | null) => void} hover
 */

const WHEEL_SPEED = 0.002; // zoom per pixel of wheel movement
const LINE_HEIGHT = 16; // pixels of a wheel's line
const MIDDLE_BUTTON = 1, SECONDARY_BUTTON = 2; // values of MouseEvent.button

export class Gestures {
  /** Pressed pointers by id. @type {Map<number, Point>} */
  #pointers = new Map();
  /** @type {"paint" | "move" | "pinch" | null} */
  #mode = null;
  #spaceHeld = false;
  #movedWithSpace = false; // whether the picture was panned while the space key was held
  /** Removes the listeners for the space key, which are active while the pointer is over the stage. @type {AbortController | null} */
  #spaceListeners = null;

  /** @param {HTMLElement} stage @param {GestureHandlers} handlers */
  constructor(stage, handlers) {
    this.stage = stage;
    this.handlers = handlers;
    stage.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    stage.addEventListener("mousedown", (event) => event.button === MIDDLE_BUTTON && event.preventDefault()); // prevents the browser's autoscroll
    stage.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    stage.addEventListener("pointerup", (event) => this.#onPointerUp(event));
    stage.addEventListener("pointercancel", (event) => this.#onPointerUp(event));
    stage.addEventListener("pointerenter", () => this.#onEnter());
    stage.addEventListener("pointerleave", () => this.#onLeave());
    stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
  }

  /** Press or release the space key. @param {boolean} held @returns {boolean}  on release: whether the picture was not panned meanwhile */
  setSpace(held) {
    const notMoved = !this.#movedWithSpace;
    if (held !== this.#spaceHeld) this.#movedWithSpace = false;
    this.#spaceHeld = held;
    this.stage.classList.toggle("sl-moving", held);
    return notMoved;
  }

  destroy() {
    this.#spaceListeners?.abort();
  }

  /** @param {PointerEvent} event */
  #onPointerDown(event) {
    if (event.button === SECONDARY_BUTTON) return;
    this.stage.setPointerCapture(event.pointerId);
    const at = this.#pointOf(event);
    this.#pointers.set(event.pointerId, at);
    if (this.#pointers.size > 1) {
      if (this.#mode === "paint") this.handlers.cancel();
      this.#mode = "pinch";
    } else if (event.button === MIDDLE_BUTTON || this.#spaceHeld || !this.handlers.paints()) {
      this.#mode = "move";
      this.#movedWithSpace = this.#spaceHeld;
    } else {
      this.#mode = "paint";
      this.handlers.begin(at, event);
    }
  }

  /** @param {PointerEvent} event */
  #onPointerMove(event) {
    const at = this.#pointOf(event);
    if (event.pointerType !== "touch") this.handlers.hover(at);
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    if (this.#mode === "paint") {
      const coalesced = event.getCoalescedEvents();
      for (const each of coalesced.length ? coalesced : [event]) this.handlers.extend(this.#pointOf(each), each);
    } else if (this.#mode === "move") {
      this.handlers.move(at.x - before.x, at.y - before.y);
    } else if (this.#mode === "pinch") {
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) this.#pinch(other, before, at);
    }
    this.#pointers.set(event.pointerId, at);
  }

  /** One of two fingers has moved. @param {Point} other @param {Point} before @param {Point} after */
  #pinch(other, before, after) {
    this.handlers.move((after.x - before.x) / 2, (after.y - before.y) / 2);
    const distance = (/** @type {Point} */ { x, y }) => Math.max(1, Math.hypot(x - other.x, y - other.y));
    this.handlers.zoom(distance(after) / distance(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 });
  }

  /** @param {PointerEvent} event */
  #onPointerUp(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#mode === "paint") event.type === "pointerup" ? this.handlers.end() : this.handlers.cancel();
    if (this.#pointers.size === 0) this.#mode = null;
  }

  #onEnter() {
    this.#spaceListeners?.abort();
    this.#spaceListeners = new AbortController();
    const { signal } = this.#spaceListeners;
    const startsPan = (/** @type {KeyboardEvent} */ event) =>
      event.key === " " && (document.activeElement === document.body || document.activeElement === null);
    addEventListener("keydown", (event) => startsPan(event) && (event.preventDefault(), this.setSpace(true)), { signal });
    addEventListener("keyup", (event) => event.key === " " && document.activeElement !== this.stage && this.setSpace(false), { signal });
  }

  #onLeave() {
    this.handlers.hover(null);
    if (document.activeElement !== this.stage) this.setSpace(false);
    this.#spaceListeners?.abort();
    this.#spaceListeners = null;
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_HEIGHT : 1;
    if (event.shiftKey) return this.handlers.move(-(event.deltaX || event.deltaY) * lines, 0);
    this.handlers.zoom(Math.exp(-event.deltaY * lines * WHEEL_SPEED), this.#pointOf(event));
  }

  /** @param {MouseEvent} event @returns {Point} */
  #pointOf({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}
