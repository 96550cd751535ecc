// A virtualized grid: only tiles near the visible area are in the document.

import { h } from "../core/dom.js";
import { cancelLoading, loadTile, makeTile, showBroken, updateTile } from "./tile.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {import("./tile.js").Tile} Tile */

/** Minimum side of a tile in pixels, by size, and in a grid that is narrower than NARROW_GRID. */
const MIN_TILES = [96, 128, 168, 240, 360], MIN_TILES_NARROW = [62, 80, 104, 150, 280], NARROW_GRID = 560;
export const SIZES = MIN_TILES.length, DEFAULT_SIZE = 2;
/** The size whose tiles have at least so many pixels. @param {number | null | undefined} side */
export const sizeOf = (side) => (side ? Math.max(0, MIN_TILES.findLastIndex((least) => least <= side)) : DEFAULT_SIZE);
const THUMBNAIL_SIDES = [256, 512];
const LONG_PRESS = 450; // milliseconds
const PRESS_TOLERANCE = 10; // pixels that a finger may move during a long press
const GAP = 8;
const OVERSCAN = 0.75; // fraction of the visible height that is rendered above and below it
const SCROLL_PAUSE = 90; // milliseconds
const FAST_SCROLL = 3; // visible heights per second above which no thumbnails are loaded

/**
 * @typedef {{
 *   label: string,
 *   total: () => number,
 *   at: (index: number) => GalleryEntry | undefined,
 *   ensureLoaded: (index: number) => void,
 *   open: (index: number) => void,
 *   favourite: (index: number) => void,
 *   toggle: (index: number) => void,
 *   extend: (index: number, from: number) => void,
 *   ondrag: (event: DragEvent, entry: GalleryEntry) => void,
 *   selecting: () => boolean,
 *   isSelected: (index: number, entry: GalleryEntry | undefined) => boolean,
 *   onscroll: (first: number) => void,
 * }} GridOptions  at: undefined if not loaded yet; toggle: select or deselect a tile; extend: select the range that ends at a tile, which may
 *   not be loaded yet, and starts where the last one did, or else at from; selecting: whether a click selects instead of opening; onscroll: called with the first visible index
 */

export class Grid {
  /** Index of the tile with the focus (roving tabindex). */
  active = 0;
  columns = 1;
  #rowHeight = 0; // including the gap
  #viewport = { width: 0, height: 0 };
  #total = 0;
  /** @type {Map<number, HTMLElement>} */
  #rows = new Map();
  #frame = 0;
  #scrollTop = 0;
  #lastScroll = { time: 0, top: 0, speed: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #loadTimer;
  #size = DEFAULT_SIZE;
  /** A finger on a tile. @type {{timer: ReturnType<typeof setTimeout>, x: number, y: number, held: boolean} | null} */
  #press = null;

  /** @param {GridOptions} options */
  constructor(options) {
    this.options = options;
    this.canvas = h("div", { class: "sl-grid-canvas", role: "presentation" });
    this.element = h("div", { class: "sl-grid", role: "grid", "aria-label": options.label }, this.canvas);
    this.element.addEventListener("scroll", () => this.#scheduleUpdate(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#onKeyDown(event));
    this.canvas.addEventListener("click", (event) => this.#onClick(event));
    this.canvas.addEventListener("focusin", (event) => this.#onFocus(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    this.canvas.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    for (const type of ["pointerup", "pointercancel"]) this.canvas.addEventListener(type, () => this.#endPress());
    this.canvas.addEventListener("contextmenu", (event) => this.#press && event.preventDefault()); // of a long press
    this.canvas.addEventListener("dragstart", (event) => this.#onDragStart(event));
    this.canvas.addEventListener("error", (event) => this.#onImageError(event), true);
    new ResizeObserver(() => this.#measure()).observe(this.element);
  }

  /** Whether the grid is scrolled to the top. */
  get atTop() {
    return this.#scrollTop < this.#rowHeight / 2;
  }

  /** Whether a tile has the focus. */
  get hasFocus() {
    return this.canvas.contains(document.activeElement);
  }

  /** Render the current entries; the tile of a picture stays the same element. */
  refresh() {
    if (!this.#viewport.width) return;
    this.#total = this.options.total();
    this.active = Math.max(0, Math.min(this.active, this.#total - 1));
    const rows = Math.ceil(this.#total / this.columns);
    this.canvas.style.height = `${Math.max(0, rows * this.#rowHeight - GAP)}px`;
    this.element.setAttribute("aria-rowcount", String(rows));
    this.element.setAttribute("aria-colcount", String(this.columns));
    const focused = this.hasFocus;
    /** @type {Map<string, Tile>} */
    const tiles = new Map();
    for (const tile of this.#tiles()) if (tile.entry) tiles.set(tile.entry.id, tile);
    for (const [row, element] of this.#rows) this.#fillRow(row, element, tiles);
    this.#update();
    if (focused && !this.hasFocus) this.#focusTile();
    this.#scheduleLoading();
  }

  /** Size of the tiles: 0 for the smallest, up to SIZES - 1. */
  get size() {
    return this.#size;
  }
  set size(size) {
    this.#size = size;
    const { width } = this.#viewport;
    this.#viewport.width = 0;
    if (width) this.#measure(width);
  }

  /** Scroll to the top. */
  toTop() {
    this.active = 0;
    this.element.scrollTop = 0;
    this.#update();
  }

  /** Focus a tile and scroll it into view. @param {number} index @returns {HTMLElement | null} */
  focus(index) {
    if (!this.#total) return null;
    this.active = Math.max(0, Math.min(index, this.#total - 1));
    const top = Math.floor(this.active / this.columns) * this.#rowHeight;
    const scroll = this.element.scrollTop;
    if (top < scroll) this.element.scrollTop = top;
    else if (top + this.#rowHeight > scroll + this.#viewport.height) this.element.scrollTop = top + this.#rowHeight - this.#viewport.height;
    this.#update();
    return this.#focusTile();
  }

  #focusTile() {
    const tile = this.#tileAt(this.active);
    tile?.focus({ preventScroll: true });
    return tile;
  }

  /** @param {number} index @returns {Tile | null} */
  #tileAt(index) {
    const row = this.#rows.get(Math.floor(index / this.columns));
    return /** @type {Tile | null} */ (row?.children[index % this.columns] ?? null);
  }

  /** @returns {Iterable<Tile>} */
  *#tiles() {
    for (const row of this.#rows.values()) yield* /** @type {Iterable<Tile>} */ (/** @type {unknown} */ (row.children));
  }

  /** @param {number} [before]  the width for which the tiles were arranged */
  #measure(before = this.#viewport.width) {
    const width = this.canvas.clientWidth, height = this.element.clientHeight;
    if (!width || (width === this.#viewport.width && height === this.#viewport.height)) return;
    const first = Math.round(this.#scrollTop / (this.#rowHeight || 1)) * this.columns;
    this.#viewport = { width, height };
    const least = (width < NARROW_GRID ? MIN_TILES_NARROW : MIN_TILES)[this.#size];
    const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    const side = (width - GAP * (columns - 1)) / columns;
    if (columns !== this.columns || side + GAP !== this.#rowHeight) {
      for (const row of [...this.#rows.keys()]) this.#removeRow(row);
      this.columns = columns;
      this.#rowHeight = side + GAP;
      this.canvas.style.setProperty("--sl-columns", String(columns));
      this.canvas.style.setProperty("--sl-side", `${side}px`);
    }
    this.refresh();
    if (before) this.element.scrollTop = Math.floor(first / columns) * this.#rowHeight;
  }

  #scheduleUpdate() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#update();
    });
  }

  /** Add the rows near the visible area, and remove the others. */
  #update() {
    if (!this.#viewport.width) return;
    this.#scrollTop = this.element.scrollTop;
    const now = performance.now();
    const moved = Math.abs(this.#scrollTop - this.#lastScroll.top) / this.#viewport.height;
    if (moved) this.#lastScroll = { time: now, top: this.#scrollTop, speed: (moved / Math.max(8, now - this.#lastScroll.time)) * 1000 };
    const ahead = this.#viewport.height * OVERSCAN;
    const end = Math.ceil(this.#total / this.columns) - 1;
    const from = Math.max(0, Math.floor((this.#scrollTop - ahead) / this.#rowHeight));
    const to = Math.min(end, Math.floor((this.#scrollTop + this.#viewport.height + ahead) / this.#rowHeight));
    const firstVisible = Math.floor((this.#scrollTop + GAP) / this.#rowHeight) * this.columns;
    if (!this.hasFocus) this.#keepActive(firstVisible);
    const activeRow = Math.floor(this.active / this.columns);
    for (const row of this.#rows.keys()) if ((row < from || row > to) && row !== activeRow) this.#removeRow(row);
    const added = [];
    for (let row = from; row <= to; row++) if (!this.#rows.has(row)) added.push(this.#make(row));
    if (!this.#rows.has(activeRow) && activeRow <= end) added.push(this.#make(activeRow));
    this.canvas.append(...added);
    this.options.ensureLoaded(Math.min(this.#total, (to + 1) * this.columns) - 1);
    this.options.onscroll(firstVisible);
    if (added.length) this.#scheduleLoading();
  }

  /** While the grid does not have the focus, make a visible tile its tab stop. @param {number} firstVisible */
  #keepActive(firstVisible) {
    const below = firstVisible + Math.ceil(this.#viewport.height / this.#rowHeight) * this.columns;
    if (this.active >= firstVisible && this.active < below) return;
    this.#tileAt(this.active)?.setAttribute("tabindex", "-1");
    this.active = Math.max(0, Math.min(firstVisible, this.#total - 1));
    this.#tileAt(this.active)?.setAttribute("tabindex", "0");
  }

  /** @param {number} row */
  #make(row) {
    const element = document.createElement("div");
    element.className = "sl-grid-row";
    element.setAttribute("role", "row");
    element.setAttribute("aria-rowindex", String(row + 1));
    element.style.transform = `translateY(${row * this.#rowHeight}px)`;
    this.#rows.set(row, element);
    this.#fillRow(row, element);
    return element;
  }

  /** @param {number} row @param {HTMLElement} element @param {Map<string, Tile>} [reusable]  existing tiles to reuse, by picture id */
  #fillRow(row, element, reusable) {
    const first = row * this.columns;
    const columns = Math.max(0, Math.min(this.columns, this.#total - first));
    const selecting = this.options.selecting();
    for (let column = 0; column < columns; column++) {
      const current = /** @type {Tile | undefined} */ (element.children[column]);
      const entry = this.options.at(first + column);
      const tile = (entry && reusable?.get(entry.id)) ?? (current && !current.entry && !entry ? current : makeTile(entry));
      if (entry && tile.entry !== entry) updateTile(tile, entry);
      if (!current) element.append(tile);
      else if (tile !== current) element.replaceChild(tile, current);
      tile.tabIndex = first + column === this.active ? 0 : -1;
      if (!selecting) tile.removeAttribute("aria-selected");
      else tile.setAttribute("aria-selected", String(this.options.isSelected(first + column, entry)));
    }
    while (element.children.length > columns) element.lastElementChild?.remove();
  }

  /** @param {number} row */
  #removeRow(row) {
    const element = this.#rows.get(row);
    if (!element) return;
    for (const tile of element.children) cancelLoading(/** @type {Tile} */ (tile));
    element.remove();
    this.#rows.delete(row);
  }

  /** Load the thumbnails of tiles near the visible area, as soon as scrolling is slow. */
  #scheduleLoading() {
    const isSlow = performance.now() - this.#lastScroll.time > SCROLL_PAUSE;
    if (isSlow) return this.#loadTiles();
    this.#loadTimer ??= setTimeout(() => {
      this.#loadTimer = undefined;
      if (performance.now() - this.#lastScroll.time < SCROLL_PAUSE && this.#lastScroll.speed > FAST_SCROLL) this.#scheduleLoading();
      else this.#loadTiles();
    }, SCROLL_PAUSE);
  }

  #loadTiles() {
    const first = this.#scrollTop / this.#rowHeight - 1, last = (this.#scrollTop + this.#viewport.height) / this.#rowHeight;
    const side = THUMBNAIL_SIDES.find((each) => each >= (this.#rowHeight - GAP) * devicePixelRatio * 0.75) ?? THUMBNAIL_SIDES[1];
    const rows = [...this.#rows].map(([row, element]) => ({ element, near: row > first && row < last }));
    for (const { element, near } of rows.sort((one, other) => Number(other.near) - Number(one.near))) {
      for (const tile of element.children) loadTile(/** @type {Tile} */ (tile), near, side);
    }
  }

  /** The index of the tile that an event happened in, or -1. @param {Event} event @returns {number} */
  #indexOf({ target }) {
    const tile = target instanceof Element ? target.closest(".sl-tile") : null;
    for (const [row, element] of this.#rows) {
      if (tile?.parentElement === element) return row * this.columns + [...element.children].indexOf(tile);
    }
    return -1;
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const { options } = this, index = this.#indexOf(event), held = this.#press?.held;
    this.#press = null;
    if (index < 0 || held) return; // the long press has selected the tile
    const over = (/** @type {string} */ selector) => event.target instanceof Element && !!event.target.closest(selector);
    if (event.shiftKey) return options.extend(index, index);
    if (!options.at(index)) return;
    if (over(".sl-heart")) options.favourite(index);
    else if (over(".sl-check") || event.ctrlKey || event.metaKey || options.selecting()) options.toggle(index);
    else options.open(index);
  }

  /** A finger that rests on a tile selects it; a mouse may drag it away. @param {PointerEvent} event */
  #onPointerDown(event) {
    this.#endPress();
    this.#press = null;
    const index = this.#indexOf(event);
    const touch = event.pointerType === "touch";
    this.#tileAt(index)?.setAttribute("draggable", String(!touch));
    if (!touch || !event.isPrimary || !this.options.at(index)) return;
    const timer = setTimeout(() => {
      if (this.#press) this.#press.held = true;
      this.options.toggle(index);
      navigator.vibrate?.(10);
    }, LONG_PRESS);
    this.#press = { timer, x: event.clientX, y: event.clientY, held: false };
  }

  /** @param {PointerEvent} event */
  #onPointerMove({ clientX, clientY }) {
    if (this.#press && Math.hypot(clientX - this.#press.x, clientY - this.#press.y) > PRESS_TOLERANCE) this.#endPress();
  }

  #endPress() {
    clearTimeout(this.#press?.timer);
  }

  /** @param {DragEvent} event */
  #onDragStart(event) {
    const entry = this.options.at(this.#indexOf(event));
    if (entry) this.options.ondrag(event, entry);
    else event.preventDefault();
  }

  /** @param {FocusEvent} event */
  #onFocus(event) {
    const index = this.#indexOf(event);
    if (index < 0 || index === this.active) return;
    this.#tileAt(this.active)?.setAttribute("tabindex", "-1");
    this.active = index;
    this.#tileAt(index)?.setAttribute("tabindex", "0");
  }

  /** @param {Event} event */
  #onImageError(event) {
    const tile = event.target instanceof Element ? /** @type {Tile | null} */ (event.target.closest(".sl-tile")) : null;
    if (tile && event.target instanceof HTMLImageElement && event.target.getAttribute("src")) showBroken(tile);
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.altKey || event.metaKey) return;
    const { active, options } = this;
    const target = this.#targetOf(event);
    const loaded = !!options.at(active);
    if (event.key === " " && event.shiftKey) options.extend(active, active);
    else if (event.key === " " && loaded) options.toggle(active);
    else if (event.key === "Enter" && loaded) options.open(active);
    else if (target === null) return;
    else {
      if (event.shiftKey) options.extend(target, active);
      this.focus(target);
    }
    event.preventDefault();
  }

  /** The index that a key moves the focus to, or null. @param {KeyboardEvent} event @returns {number | null} */
  #targetOf({ key, ctrlKey }) {
    const { active, columns } = this;
    const last = this.#total - 1, column = active % columns;
    const page = Math.max(1, Math.floor(this.#viewport.height / this.#rowHeight)) * columns;
    const clamp = (/** @type {number} */ index) => (index < 0 ? column : index > last ? Math.max(active, last) : index);
    if (ctrlKey) return key === "Home" ? 0 : key === "End" ? last : null;
    switch (key) {
      case "ArrowLeft": return clamp(active - 1);
      case "ArrowRight": return clamp(active + 1);
      case "ArrowUp": return active < columns ? active : active - columns;
      case "ArrowDown": return clamp(active + columns);
      case "PageUp": return clamp(active - page);
      case "PageDown": return clamp(active + page);
      case "Home": return active - column;
      case "End": return Math.min(last, active - column + columns - 1);
      default: return null;
    }
  }
}
