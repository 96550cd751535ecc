// A picture in a stage, made larger and moved: by wheel, keys, double press, drag and pinch.

const STEP = 1.4; // one press of + or -
const LARGEST = 32; // screen pixels per picture pixel
const SMALL = 4; // small pictures are enlarged so far at most to fill the stage
const CRISP = 4; // beyond that, single pixels are shown as such
const DOUBLE = { time: 300, distance: 24 }; // milliseconds and pixels between two presses that are one
const SWIPE = 56; // pixels

/** @typedef {{x: number, y: number}} Point */

export class Zoom {
  scale = 1;
  /** Whether the picture is shown whole, and follows when the stage changes its size. */
  fitted = true;
  #size = { width: 1, height: 1 };
  #at = { x: 0, y: 0 };
  #room = { width: 0, height: 0 };
  /** @type {Map<number, Point>} */
  #pointers = new Map();
  #swiped = { x: 0, y: 0 };
  #touched = false;
  #pressed = { time: 0, x: 0, y: 0, moved: 0 };
  #observer = new ResizeObserver(() => this.#measure());

  /**
   * @param {HTMLElement} stage
   * @param {HTMLElement} picture  within the stage, positioned absolutely
   * @param {{onswipe: (by: 1 | -1) => void, onchange: (scale: number) => void}} calls
   */
  constructor(stage, picture, { onswipe, onchange }) {
    this.stage = stage;
    this.picture = picture;
    this.onswipe = onswipe;
    this.onchange = onchange;
    this.#observer.observe(stage);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", (event) => this.#up(event));
  }

  /** Let go of the stage. */
  end() {
    this.#observer.disconnect();
  }

  /** Show another picture, whole. @param {{width: number, height: number}} size  in pixels */
  show({ width, height }) {
    this.#size = { width: Math.max(1, width), height: Math.max(1, height) };
    Object.assign(this.picture.style, { width: `${this.#size.width}px`, height: `${this.#size.height}px` });
    this.#measure();
    this.fit();
  }

  /** Show it whole again. */
  fit(eased = false) {
    this.fitted = true;
    this.scale = this.#fitting;
    this.#at = { x: 0, y: 0 };
    this.#apply(eased);
  }

  /** Step nearer or away. @param {1 | -1} direction */
  step(direction) {
    this.#zoom(direction > 0 ? STEP : 1 / STEP, this.#middle, true);
  }

  /** Whether parts of the picture are out of sight. */
  get hides() {
    const { width, height } = this.#shown;
    return width > this.#room.width + 1 || height > this.#room.height + 1;
  }

  /** Move the picture. @param {number} x @param {number} y  pixels */
  pan(x, y, eased = true) {
    this.#at = { x: this.#at.x + x, y: this.#at.y + y };
    this.#apply(eased);
  }

  get #fitting() {
    const { width, height } = this.#size;
    return Math.min(this.#room.width / width, this.#room.height / height, SMALL) || 1;
  }
  get #shown() {
    return { width: this.#size.width * this.scale, height: this.#size.height * this.scale };
  }
  get #middle() {
    return { x: this.#room.width / 2, y: this.#room.height / 2 };
  }

  #measure() {
    this.#room = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    if (this.fitted) this.fit();
    else this.#apply(false);
  }

  /** @param {number} factor @param {Point} point  of the stage, that stays where it is */
  #zoom(factor, point, eased = false) {
    const least = Math.min(1, this.#fitting);
    const scale = Math.min(LARGEST, Math.max(least, this.scale * factor));
    const real = scale / this.scale;
    const left = this.#left, top = this.#top;
    this.scale = scale;
    this.fitted = Math.abs(scale / this.#fitting - 1) < 0.01;
    if (this.fitted) return this.fit(eased);
    const { width, height } = this.#shown;
    this.#at = {
      x: point.x - (point.x - left) * real - (this.#room.width - width) / 2,
      y: point.y - (point.y - top) * real - (this.#room.height - height) / 2,
    };
    this.#apply(eased);
  }

  /** The middle is where x and y are 0, so that a picture smaller than the stage lies there. */
  get #left() {
    return (this.#room.width - this.#shown.width) / 2 + this.#at.x;
  }
  get #top() {
    return (this.#room.height - this.#shown.height) / 2 + this.#at.y;
  }

  /** @param {boolean} eased */
  #apply(eased) {
    const { width, height } = this.#shown;
    const most = { x: Math.max(0, (width - this.#room.width) / 2), y: Math.max(0, (height - this.#room.height) / 2) };
    this.#at = { x: clamp(this.#at.x, most.x), y: clamp(this.#at.y, most.y) };
    const x = this.#left + this.#swiped.x;
    this.picture.classList.toggle("sl-eased", eased);
    this.picture.classList.toggle("sl-crisp", this.scale > CRISP * 1.001);
    this.picture.style.transform = `translate(${x}px, ${this.#top}px) scale(${this.scale})`;
    this.stage.classList.toggle("sl-movable", this.hides);
    this.onchange(this.scale);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // a touchpad's pinch comes as small turns of the wheel with Ctrl
    this.#zoom(Math.exp(-event.deltaY * lines * speed), this.#point(event));
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || (event.target instanceof Element && event.target.closest("button, a, input"))) return;
    this.stage.setPointerCapture(event.pointerId);
    const point = this.#point(event);
    this.#pointers.set(event.pointerId, point);
    if (this.#pointers.size > 1) this.#swiped = { x: 0, y: 0 };
    this.#touched = event.pointerType !== "mouse";
    const { time, x, y, moved } = this.#pressed;
    const twice = moved < DOUBLE.distance && event.timeStamp - time < DOUBLE.time && apart({ x, y }, point) < DOUBLE.distance;
    this.#pressed = { time: twice ? 0 : event.timeStamp, ...point, moved: 0 };
    if (twice && this.#pointers.size === 1) this.#double(point);
  }

  /** @param {Point} point */
  #double(point) {
    if (!this.fitted) return this.fit(true);
    this.#zoom(Math.max(2.5, 1 / this.scale), point, true);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const point = this.#point(event);
    this.#pressed.moved = Math.max(this.#pressed.moved, apart(this.#pressed, point));
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, point);
    if (other) {
      const middle = { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 };
      this.#zoom(apart(point, other) / Math.max(1, apart(before, other)), middle);
      return this.pan((point.x - before.x) / 2, (point.y - before.y) / 2, false);
    }
    if (this.hides) return this.pan(point.x - before.x, point.y - before.y, false);
    if (!this.#touched) return;
    this.#swiped = { x: this.#swiped.x + point.x - before.x, y: this.#swiped.y + point.y - before.y };
    this.#apply(false);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const { x, y } = this.#swiped;
    this.#swiped = { x: 0, y: 0 };
    if (event.type === "pointerup" && Math.abs(x) > SWIPE && Math.abs(x) > 1.5 * Math.abs(y)) this.onswipe(x < 0 ? 1 : -1);
    else if (x) this.#apply(true);
  }

  /** @param {MouseEvent} event @returns {Point}  within the stage */
  #point({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}

/** @param {number} value @param {number} most */
const clamp = (value, most) => Math.min(most, Math.max(-most, value));
/** @param {Point} one @param {Point} other */
const apart = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
