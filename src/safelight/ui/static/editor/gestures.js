// Mouse, pen and fingers on the stage: one paints, two move and zoom; space or the middle button moves.

/** @typedef {import("./view.js").Point} Point */
/**
 * What gestures do; points are on the stage, in pixels of the screen.
 * @typedef {object} Hand
 * @property {() => boolean} paints  whether pressing paints now
 * @property {(at: Point, event: PointerEvent) => void} begin
 * @property {(at: Point, event: PointerEvent) => void} extend
 * @property {() => void} end
 * @property {() => void} cancel  of the stroke that was begun
 * @property {(x: number, y: number) => void} move
 * @property {(factor: number, at: Point) => void} zoom
 * @property {(at: Point | null) => void} hover
 */

const WHEEL = 0.002; // how fast the wheel zooms
const MIDDLE = 1, SECONDARY = 2; // buttons

export class Gestures {
  /** Those that press the stage, by id. @type {Map<number, Point>} */
  #pointers = new Map();
  /** @type {"paint" | "move" | "pinch" | null} */
  #doing = null;
  #space = false;
  #moved = false; // with the space key held
  /** Of the space key, while the pointer is over the stage. @type {AbortController | null} */
  #over = null;

  /** @param {HTMLElement} stage @param {Hand} hand */
  constructor(stage, hand) {
    this.stage = stage;
    this.hand = hand;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("mousedown", (event) => event.button === MIDDLE && event.preventDefault()); // no scrolling by it
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", (event) => this.#up(event));
    stage.addEventListener("pointerenter", () => this.#enter());
    stage.addEventListener("pointerleave", () => this.#leave());
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Press or let go the space key. @param {boolean} held @returns {boolean} letting go: whether the picture was not moved with it */
  space(held) {
    const alone = !this.#moved;
    if (held !== this.#space) this.#moved = false;
    this.#space = held;
    this.stage.classList.toggle("sl-moving", held);
    return alone;
  }

  destroy() {
    this.#over?.abort();
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button === SECONDARY) return;
    this.stage.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.#pointers.set(event.pointerId, at);
    if (this.#pointers.size > 1) {
      if (this.#doing === "paint") this.hand.cancel();
      this.#doing = "pinch";
    } else if (event.button === MIDDLE || this.#space || !this.hand.paints()) {
      this.#doing = "move";
      this.#moved = this.#space;
    } else {
      this.#doing = "paint";
      this.hand.begin(at, event);
    }
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const at = this.#at(event);
    if (event.pointerType !== "touch") this.hand.hover(at);
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    if (this.#doing === "paint") {
      const passed = event.getCoalescedEvents();
      for (const each of passed.length ? passed : [event]) this.hand.extend(this.#at(each), each);
    } else if (this.#doing === "move") {
      this.hand.move(at.x - before.x, at.y - before.y);
    } else if (this.#doing === "pinch") {
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) this.#pinch(other, before, at);
    }
    this.#pointers.set(event.pointerId, at);
  }

  /** One finger of two moved. @param {Point} other @param {Point} before @param {Point} after */
  #pinch(other, before, after) {
    this.hand.move((after.x - before.x) / 2, (after.y - before.y) / 2);
    const apart = (/** @type {Point} */ { x, y }) => Math.max(1, Math.hypot(x - other.x, y - other.y));
    this.hand.zoom(apart(after) / apart(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 });
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#doing === "paint") event.type === "pointerup" ? this.hand.end() : this.hand.cancel();
    if (this.#pointers.size === 0) this.#doing = null;
  }

  #enter() {
    this.#over?.abort();
    this.#over = new AbortController();
    const { signal } = this.#over;
    const holds = (/** @type {KeyboardEvent} */ event) =>
      event.key === " " && (document.activeElement === document.body || document.activeElement === null);
    addEventListener("keydown", (event) => holds(event) && (event.preventDefault(), this.space(true)), { signal });
    addEventListener("keyup", (event) => event.key === " " && document.activeElement !== this.stage && this.space(false), { signal });
  }

  #leave() {
    this.hand.hover(null);
    if (document.activeElement !== this.stage) this.space(false);
    this.#over?.abort();
    this.#over = null;
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.hand.zoom(Math.exp(-event.deltaY * WHEEL), this.#at(event));
  }

  /** @param {MouseEvent} event @returns {Point} */
  #at({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}
