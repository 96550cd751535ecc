// A virtualized list of cards in columns: only cards near the visible area are in the document.

import { h } from "../core/dom.js";

/** @typedef {import("../types").Adapter} Adapter */

const MIN_WIDTH = 148, MIN_WIDTH_NARROW = 132, NARROW = 480; // CSS pixels of a card, and of a list in which cards are smaller
const WORDS_HEIGHT = 92; // CSS pixels below a card's picture
const GAP = 10;
const OVERSCAN = 1; // visible heights that are rendered above and below

export class Cards {
  /** @type {Adapter[]} */
  #networks = [];
  /** The cards in the document, by the network's id. @type {Map<string, HTMLElement>} */
  #cards = new Map();
  #columns = 1;
  #side = 0;
  #width = 0;
  #frame = 0;

  /** @param {{label: string, make: (network: Adapter) => HTMLElement}} options  make: makes a card */
  constructor({ label, make }) {
    this.make = make;
    this.canvas = h("div", { class: "sl-net-canvas", role: "list", "aria-label": label });
    this.element = h("div", { class: "sl-net-scroll", tabindex: -1 }, this.canvas);
    this.element.addEventListener("scroll", () => (this.#frame ||= requestAnimationFrame(() => this.#update())), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(this.element);
  }

  /** Show networks in their order, from the top unless told otherwise. @param {Adapter[]} networks @param {boolean} [stay]  keep the scroll position */
  show(networks, stay = false) {
    this.#networks = networks;
    this.#clear();
    if (!stay) this.element.scrollTop = 0;
    this.#update();
  }

  /** Show one network's changes. @param {Adapter} network */
  replace(network) {
    const index = this.#networks.findIndex(({ id }) => id === network.id);
    if (index < 0) return;
    this.#networks[index] = network;
    const card = this.#cards.get(network.id);
    if (!card) return;
    const made = this.#place(network, index);
    const focused = card.contains(document.activeElement) ? document.activeElement?.getAttribute("data-does") : null;
    card.replaceWith(made);
    made.querySelector(/** @type {"button"} */ (`[data-does="${focused}"]`))?.focus({ preventScroll: true });
  }

  /** The cards in the document, by id. */
  get rendered() {
    return this.#cards;
  }

  #measure() {
    const width = this.canvas.clientWidth; // without the padding around it
    if (width && width !== this.#width) {
      this.#width = width;
      const least = width < NARROW ? MIN_WIDTH_NARROW : MIN_WIDTH;
      this.#columns = Math.max(2, Math.floor((width + GAP) / (least + GAP)));
      this.#side = (width - GAP * (this.#columns - 1)) / this.#columns;
      this.#clear();
    }
    this.#update();
  }

  #clear() {
    for (const card of this.#cards.values()) card.remove();
    this.#cards.clear();
  }

  /** Add the cards near the visible area, and remove the others, but not the one with the focus. */
  #update() {
    this.#frame = 0;
    const { scrollTop, clientHeight } = this.element;
    if (!this.#width || !clientHeight) return;
    const rowHeight = this.#side + WORDS_HEIGHT + GAP;
    this.canvas.style.height = `${Math.max(0, Math.ceil(this.#networks.length / this.#columns) * rowHeight - GAP)}px`;
    const first = Math.max(0, Math.floor((scrollTop - OVERSCAN * clientHeight) / rowHeight)) * this.#columns;
    const last = Math.ceil((scrollTop + (1 + OVERSCAN) * clientHeight) / rowHeight) * this.#columns;
    const near = this.#networks.slice(first, last);
    const kept = new Set(near.map(({ id }) => id));
    for (const [id, card] of this.#cards) {
      if (kept.has(id) || card.contains(document.activeElement)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    const added = near.map((network, index) => (this.#cards.has(network.id) ? null : this.#place(network, first + index)));
    /** @type {Element | null} */
    let after = this.canvas.lastElementChild;
    for (const card of added.filter((each) => each !== null).reverse()) { // in the order of the list, which is that of the Tab key
      while (after && Number(after.getAttribute("aria-posinset")) > Number(card.getAttribute("aria-posinset"))) after = after.previousElementSibling;
      if (after) after.after(card);
      else this.canvas.prepend(card);
    }
  }

  /** @param {Adapter} network @param {number} index */
  #place(network, index) {
    const card = this.make(network);
    card.setAttribute("aria-setsize", String(this.#networks.length));
    card.setAttribute("aria-posinset", String(index + 1));
    const column = index % this.#columns, row = Math.floor(index / this.#columns);
    card.style.width = `${this.#side}px`;
    card.style.height = `${this.#side + WORDS_HEIGHT}px`;
    card.style.transform = `translate(${column * (this.#side + GAP)}px, ${row * (this.#side + WORDS_HEIGHT + GAP)}px)`;
    this.#cards.set(network.id, card);
    return card;
  }
}
