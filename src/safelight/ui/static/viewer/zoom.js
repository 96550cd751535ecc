// Zoom and pan a picture in a stage: wheel, keys, double click, drag and pinch.

const STEP_FACTOR = 1.4; // per press of + or -
const MAX_SCALE = 32; // CSS pixels per picture pixel
const MAX_FIT_SCALE = 4; // limit for fitting a small picture to the stage
const PIXELATED_SCALE = 4; // above this scale, pixels are rendered without smoothing
const DOUBLE_CLICK = { time: 300, distance: 24 }; // maximum milliseconds and pixels between two clicks
const SWIPE_DISTANCE = 56; // pixels

/** @typedef {{x: number, y: number}} Point */

export class Zoom {
  scale = 1;
  /** Whether the picture is fitted to the stage, also when the stage is resized. */
  fitted = true;
  #size = { width: 1, height: 1 };
  #offset = { x: 0, y: 0 };
  #stageSize = { width: 0, height: 0 };
  /** @type {Map<number, Point>} */
  #pointers = new Map();
  #swipe = { x: 0, y: 0 };
  #isTouch = false;
  #lastPress = { time: 0, x: 0, y: 0, moved: 0 };
  #observer = new ResizeObserver(() => this.#measure());

  /**
   * @param {HTMLElement} stage
   * @param {HTMLElement} picture  inside the stage, absolutely positioned
   * @param {{onswipe: (by: 1 | -1) => void, onchange: (scale: number) => void}} calls
   */
  constructor(stage, picture, { onswipe, onchange }) {
    this.stage = stage;
    this.picture = picture;
    this.onswipe = onswipe;
    this.onchange = onchange;
    this.#observer.observe(stage);
    stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    stage.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    stage.addEventListener("pointerup", (event) => this.#onPointerUp(event));
    stage.addEventListener("pointercancel", (event) => this.#onPointerUp(event));
  }

  /** Stop observing the stage. */
  destroy() {
    this.#observer.disconnect();
  }

  /** Show another picture, fitted. @param {{width: number, height: number}} size  in pixels */
  show({ width, height }) {
    this.#size = { width: Math.max(1, width), height: Math.max(1, height) };
    Object.assign(this.picture.style, { width: `${this.#size.width}px`, height: `${this.#size.height}px` });
    this.#measure();
    this.fit();
  }

  /** Fit the picture to the stage. */
  fit(animated = false) {
    this.fitted = true;
    this.scale = this.#fitScale;
    this.#offset = { x: 0, y: 0 };
    this.#apply(animated);
  }

  /** Zoom by one step. @param {1 | -1} direction @param {1 | -1} direction */
  step(direction) {
    this.#zoom(direction > 0 ? STEP_FACTOR : 1 / STEP_FACTOR, this.#centre, true);
  }

  /** Whether the scaled picture is larger than the stage. */
  get overflows() {
    const { width, height } = this.#scaledSize;
    return width > this.#stageSize.width + 1 || height > this.#stageSize.height + 1;
  }

  /** Pan. @param {number} x @param {number} y  in CSS pixels */
  pan(x, y, animated = true) {
    this.#offset = { x: this.#offset.x + x, y: this.#offset.y + y };
    this.#apply(animated);
  }

  get #fitScale() {
    const { width, height } = this.#size;
    return Math.min(this.#stageSize.width / width, this.#stageSize.height / height, MAX_FIT_SCALE) || 1;
  }
  get #scaledSize() {
    return { width: this.#size.width * this.scale, height: this.#size.height * this.scale };
  }
  get #centre() {
    return { x: this.#stageSize.width / 2, y: this.#stageSize.height / 2 };
  }

  #measure() {
    this.#stageSize = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    if (this.fitted) this.fit();
    else this.#apply(false);
  }

  /** @param {number} factor @param {Point} point  of the stage, the fixed point */
  #zoom(factor, point, animated = false) {
    const minScale = Math.min(1, this.#fitScale);
    const scale = Math.min(MAX_SCALE, Math.max(minScale, this.scale * factor));
    const factorApplied = scale / this.scale;
    const left = this.#left, top = this.#top;
    this.scale = scale;
    this.fitted = Math.abs(scale / this.#fitScale - 1) < 0.01;
    if (this.fitted) return this.fit(animated);
    const { width, height } = this.#scaledSize;
    this.#offset = {
      x: point.x - (point.x - left) * factorApplied - (this.#stageSize.width - width) / 2,
      y: point.y - (point.y - top) * factorApplied - (this.#stageSize.height - height) / 2,
    };
    this.#apply(animated);
  }

  /** Offset 0 is the centre, where a picture smaller than the stage stays. */
  get #left() {
    return (this.#stageSize.width - this.#scaledSize.width) / 2 + this.#offset.x;
  }
  get #top() {
    return (this.#stageSize.height - this.#scaledSize.height) / 2 + this.#offset.y;
  }

  /** @param {boolean} animated */
  #apply(animated) {
    const { width, height } = this.#scaledSize;
    const limit = { x: Math.max(0, (width - this.#stageSize.width) / 2), y: Math.max(0, (height - this.#stageSize.height) / 2) };
    this.#offset = { x: clamp(this.#offset.x, limit.x), y: clamp(this.#offset.y, limit.y) };
    const x = this.#left + this.#swipe.x;
    this.picture.classList.toggle("sl-eased", animated);
    this.picture.classList.toggle("sl-crisp", this.scale > PIXELATED_SCALE * 1.001);
    this.picture.style.transform = `translate(${x}px, ${this.#top}px) scale(${this.scale})`;
    this.stage.classList.toggle("sl-movable", this.overflows);
    this.onchange(this.scale);
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // a touchpad's pinch arrives as wheel events with Ctrl and small deltas
    this.#zoom(Math.exp(-event.deltaY * lines * speed), this.#pointOf(event));
  }

  /** @param {PointerEvent} event */
  #onPointerDown(event) {
    if (event.button !== 0 || (event.target instanceof Element && event.target.closest("button, a, input"))) return;
    this.stage.setPointerCapture(event.pointerId);
    const point = this.#pointOf(event);
    this.#pointers.set(event.pointerId, point);
    if (this.#pointers.size > 1) this.#swipe = { x: 0, y: 0 };
    this.#isTouch = event.pointerType !== "mouse";
    const { time, x, y, moved } = this.#lastPress;
    const twice = moved < DOUBLE_CLICK.distance && event.timeStamp - time < DOUBLE_CLICK.time && distance({ x, y }, point) < DOUBLE_CLICK.distance;
    this.#lastPress = { time: twice ? 0 : event.timeStamp, ...point, moved: 0 };
    if (twice && this.#pointers.size === 1) this.#onDoubleClick(point);
  }

  /** @param {Point} point */
  #onDoubleClick(point) {
    if (!this.fitted) return this.fit(true);
    this.#zoom(Math.max(2.5, 1 / this.scale), point, true);
  }

  /** @param {PointerEvent} event */
  #onPointerMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const point = this.#pointOf(event);
    this.#lastPress.moved = Math.max(this.#lastPress.moved, distance(this.#lastPress, point));
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, point);
    if (other) {
      const middle = { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 };
      this.#zoom(distance(point, other) / Math.max(1, distance(before, other)), middle);
      return this.pan((point.x - before.x) / 2, (point.y - before.y) / 2, false);
    }
    if (this.overflows) return this.pan(point.x - before.x, point.y - before.y, false);
    if (!this.#isTouch) return;
    this.#swipe = { x: this.#swipe.x + point.x - before.x, y: this.#swipe.y + point.y - before.y };
    this.#apply(false);
  }

  /** @param {PointerEvent} event */
  #onPointerUp(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const { x, y } = this.#swipe;
    this.#swipe = { x: 0, y: 0 };
    if (event.type === "pointerup" && Math.abs(x) > SWIPE_DISTANCE && Math.abs(x) > 1.5 * Math.abs(y)) this.onswipe(x < 0 ? 1 : -1);
    else if (x) this.#apply(true);
  }

  /** @param {MouseEvent} event @returns {Point}  relative to the stage */
  #pointOf({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}

/** @param {number} value @param {number} limit */
const clamp = (value, limit) => Math.min(limit, Math.max(-limit, value));
/** @param {Point} one @param {Point} other */
const distance = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
