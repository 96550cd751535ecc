// A grid of any number of tiles of which only those near the screen are in the page.

import { h } from "../core/dom.js";
import { bareTile, breakTile, dress, remark, undress } from "./tile.js";

/** @typedef {import("../types").Entry} Entry */
/** @typedef {import("./tile.js").Tile} Tile */

const SMALLEST = 168, SMALLEST_NARROW = 104, NARROW = 560; // pixels: a tile's side at least, and what a narrow grid is
const GAP = 8;
const AHEAD = 0.75; // of the height, that is in the page above and beneath
const CALM = 90; // milliseconds
const FAST = 3; // heights a second, beyond which nothing is fetched

/**
 * @typedef {{
 *   label: string,
 *   total: () => number,
 *   at: (index: number) => Entry | undefined,
 *   need: (index: number) => void,
 *   press: (index: number, event: Event) => void,
 *   favourite: (index: number) => void,
 *   chosen: (id: string) => boolean | null,
 *   scrolled: (first: number) => void,
 * }} Calls  at: undefined is not loaded yet; chosen: null where nothing is being chosen; scrolled: which is the first in sight
 */

export class Grid {
  /** The tile that the keyboard is at. */
  active = 0;
  columns = 1;
  #height = 0; // of a row with its gap
  #view = { width: 0, height: 0 };
  #total = 0;
  /** @type {Map<number, HTMLElement>} */
  #rows = new Map();
  #frame = 0;
  #top = 0;
  #last = { time: 0, top: 0, speed: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #calm;

  /** @param {Calls} calls */
  constructor(calls) {
    this.calls = calls;
    this.canvas = h("div", { class: "sl-grid-canvas", role: "presentation" });
    this.element = h("div", { class: "sl-grid", role: "grid", "aria-label": calls.label }, this.canvas);
    this.element.addEventListener("scroll", () => this.#soon(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.canvas.addEventListener("click", (event) => this.#press(event));
    this.canvas.addEventListener("focusin", (event) => this.#focused(event));
    this.canvas.addEventListener("error", (event) => this.#broken(event), true);
    new ResizeObserver(() => this.#measure()).observe(this.element);
  }

  /** Whether the user looks at the beginning. */
  get atTop() {
    return this.#top < this.#height / 2;
  }

  /** Whether the keyboard is in the grid. */
  get hasFocus() {
    return this.canvas.contains(document.activeElement);
  }

  /** Show what there is now: tiles of the same picture stay the same elements. */
  refresh() {
    if (!this.#view.width) return;
    this.#total = this.calls.total();
    this.active = Math.max(0, Math.min(this.active, this.#total - 1));
    const rows = Math.ceil(this.#total / this.columns);
    this.canvas.style.height = `${Math.max(0, rows * this.#height - GAP)}px`;
    this.element.setAttribute("aria-rowcount", String(rows));
    this.element.setAttribute("aria-colcount", String(this.columns));
    const focused = this.hasFocus;
    /** @type {Map<string, Tile>} */
    const tiles = new Map();
    for (const tile of this.#tiles()) if (tile.entry) tiles.set(tile.entry.id, tile);
    for (const [row, element] of this.#rows) this.#fill(row, element, tiles);
    this.#update();
    if (focused && !this.hasFocus) this.#focusTile();
    this.#dressSoon();
  }

  /** Go to the beginning. */
  toTop() {
    this.active = 0;
    this.element.scrollTop = 0;
    this.#update();
  }

  /** Move the keyboard to a tile, and it into sight. @param {number} index @returns {HTMLElement | null} */
  focus(index) {
    if (!this.#total) return null;
    this.active = Math.max(0, Math.min(index, this.#total - 1));
    const top = Math.floor(this.active / this.columns) * this.#height;
    const scroll = this.element.scrollTop;
    if (top < scroll) this.element.scrollTop = top;
    else if (top + this.#height > scroll + this.#view.height) this.element.scrollTop = top + this.#height - this.#view.height;
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

  #measure() {
    const width = this.canvas.clientWidth, height = this.element.clientHeight;
    if (!width || (width === this.#view.width && height === this.#view.height)) return;
    const first = Math.round(this.#top / (this.#height || 1)) * this.columns;
    const was = this.#view.width;
    this.#view = { width, height };
    const least = width < NARROW ? SMALLEST_NARROW : SMALLEST;
    const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    const side = (width - GAP * (columns - 1)) / columns;
    if (columns !== this.columns || side + GAP !== this.#height) {
      for (const row of [...this.#rows.keys()]) this.#drop(row);
      this.columns = columns;
      this.#height = side + GAP;
      this.canvas.style.setProperty("--sl-columns", String(columns));
      this.canvas.style.setProperty("--sl-side", `${side}px`);
    }
    this.refresh();
    if (was) this.element.scrollTop = Math.floor(first / columns) * this.#height;
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#update();
    });
  }

  /** Put the rows into the page that are near the screen, and no others. */
  #update() {
    if (!this.#view.width) return;
    this.#top = this.element.scrollTop;
    const now = performance.now();
    const moved = Math.abs(this.#top - this.#last.top) / this.#view.height;
    if (moved) this.#last = { time: now, top: this.#top, speed: (moved / Math.max(8, now - this.#last.time)) * 1000 };
    const ahead = this.#view.height * AHEAD;
    const end = Math.ceil(this.#total / this.columns) - 1;
    const from = Math.max(0, Math.floor((this.#top - ahead) / this.#height));
    const to = Math.min(end, Math.floor((this.#top + this.#view.height + ahead) / this.#height));
    const seen = Math.floor((this.#top + GAP) / this.#height) * this.columns;
    if (!this.hasFocus) this.#keepActive(seen);
    const kept = Math.floor(this.active / this.columns);
    for (const row of this.#rows.keys()) if ((row < from || row > to) && row !== kept) this.#drop(row);
    const added = [];
    for (let row = from; row <= to; row++) if (!this.#rows.has(row)) added.push(this.#make(row));
    if (!this.#rows.has(kept) && kept <= end) added.push(this.#make(kept));
    this.canvas.append(...added);
    this.calls.need(Math.min(this.#total, (to + 1) * this.columns) - 1);
    this.calls.scrolled(seen);
    if (added.length) this.#dressSoon();
  }

  /** Where the keyboard is not in the grid, it will come in at what is in sight. @param {number} seen */
  #keepActive(seen) {
    const below = seen + Math.ceil(this.#view.height / this.#height) * this.columns;
    if (this.active >= seen && this.active < below) return;
    this.#tileAt(this.active)?.setAttribute("tabindex", "-1");
    this.active = Math.max(0, Math.min(seen, this.#total - 1));
    this.#tileAt(this.active)?.setAttribute("tabindex", "0");
  }

  /** @param {number} row */
  #make(row) {
    const element = document.createElement("div");
    element.className = "sl-grid-row";
    element.setAttribute("role", "row");
    element.setAttribute("aria-rowindex", String(row + 1));
    element.style.transform = `translateY(${row * this.#height}px)`;
    this.#rows.set(row, element);
    this.#fill(row, element);
    return element;
  }

  /** @param {number} row @param {HTMLElement} element @param {Map<string, Tile>} [known]  tiles that can be had again */
  #fill(row, element, known) {
    const first = row * this.columns;
    const columns = Math.max(0, Math.min(this.columns, this.#total - first));
    for (let column = 0; column < columns; column++) {
      const there = /** @type {Tile | undefined} */ (element.children[column]);
      const entry = this.calls.at(first + column);
      const tile = (entry && known?.get(entry.id)) ?? (there && !there.entry && !entry ? there : bareTile(entry));
      if (entry && tile.entry !== entry) remark(tile, entry);
      if (!there) element.append(tile);
      else if (tile !== there) element.replaceChild(tile, there);
      tile.tabIndex = first + column === this.active ? 0 : -1;
      const chosen = entry ? this.calls.chosen(entry.id) : null;
      if (chosen === null) tile.removeAttribute("aria-selected");
      else tile.setAttribute("aria-selected", String(chosen));
    }
    while (element.children.length > columns) element.lastElementChild?.remove();
  }

  /** @param {number} row */
  #drop(row) {
    const element = this.#rows.get(row);
    if (!element) return;
    for (const tile of element.children) undress(/** @type {Tile} */ (tile));
    element.remove();
    this.#rows.delete(row);
  }

  /** Fetch the pictures of what is near, once it is not scrolled past. */
  #dressSoon() {
    const still = performance.now() - this.#last.time > CALM;
    if (still) return this.#dress();
    this.#calm ??= setTimeout(() => {
      this.#calm = undefined;
      if (performance.now() - this.#last.time < CALM && this.#last.speed > FAST) this.#dressSoon();
      else this.#dress();
    }, CALM);
  }

  #dress() {
    const first = this.#top / this.#height - 1, last = (this.#top + this.#view.height) / this.#height;
    const rows = [...this.#rows].map(([row, element]) => ({ element, near: row > first && row < last }));
    for (const { element, near } of rows.sort((one, other) => Number(other.near) - Number(one.near))) {
      for (const tile of element.children) dress(/** @type {Tile} */ (tile), near);
    }
  }

  /** @param {Event} event @returns {number}  of the tile it happened in, or -1 */
  #indexOf({ target }) {
    const tile = target instanceof Element ? target.closest(".sl-tile") : null;
    for (const [row, element] of this.#rows) {
      if (tile?.parentElement === element) return row * this.columns + [...element.children].indexOf(tile);
    }
    return -1;
  }

  /** @param {MouseEvent} event */
  #press(event) {
    const index = this.#indexOf(event);
    if (index < 0 || !this.calls.at(index)) return;
    if (event.target instanceof Element && event.target.closest(".sl-heart")) this.calls.favourite(index);
    else this.calls.press(index, event);
  }

  /** @param {FocusEvent} event */
  #focused(event) {
    const index = this.#indexOf(event);
    if (index < 0 || index === this.active) return;
    this.#tileAt(this.active)?.setAttribute("tabindex", "-1");
    this.active = index;
    this.#tileAt(index)?.setAttribute("tabindex", "0");
  }

  /** @param {Event} event */
  #broken(event) {
    const tile = event.target instanceof Element ? /** @type {Tile | null} */ (event.target.closest(".sl-tile")) : null;
    if (tile && event.target instanceof HTMLImageElement && event.target.getAttribute("src")) breakTile(tile);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.shiftKey || event.metaKey) return;
    if ((event.key === "Enter" || event.key === " ") && this.calls.at(this.active)) this.calls.press(this.active, event);
    else if (this.#way(event) === null) return;
    else this.focus(/** @type {number} */ (this.#way(event)));
    event.preventDefault();
  }

  /** Where a key leads to. @param {KeyboardEvent} event @returns {number | null} */
  #way({ key, ctrlKey }) {
    const { active, columns } = this;
    const last = this.#total - 1, column = active % columns;
    const page = Math.max(1, Math.floor(this.#view.height / this.#height)) * columns;
    const within = (/** @type {number} */ index) => (index < 0 ? column : index > last ? Math.max(active, last) : index);
    if (ctrlKey) return key === "Home" ? 0 : key === "End" ? last : null;
    switch (key) {
      case "ArrowLeft": return within(active - 1);
      case "ArrowRight": return within(active + 1);
      case "ArrowUp": return active < columns ? active : active - columns;
      case "ArrowDown": return within(active + columns);
      case "PageUp": return within(active - page);
      case "PageDown": return within(active + page);
      case "Home": return active - column;
      case "End": return Math.min(last, active - column + columns - 1);
      default: return null;
    }
  }
}
