// The gallery's search text, filters and order; the address has them.

import { button, h, icon, setChildren } from "../core/dom.js";
import { openPopover } from "../core/popover.js";
import { formatNumber, t } from "../core/text.js";

/** @typedef {{query: string, collection: string, checkpoint: string, sampler: string, tag: string, decision: string, from: string, to: string, favourite: boolean, sort: string}} Values */
/** @typedef {Record<"checkpoints" | "samplers" | "tags" | "decisions" | "collections", Record<string, number>>} Facets */

/** @type {Values} */
const EMPTY = { query: "", collection: "", checkpoint: "", sampler: "", tag: "", decision: "", from: "", to: "", favourite: false, sort: "newest" };
/** @type {Facets} */
export const NO_FACETS = { checkpoints: {}, samplers: {}, tags: {}, decisions: {}, collections: {} };
const SORTS = ["newest", "oldest", "largest", "smallest", "relevance"];
const TYPING_DELAY = 150; // milliseconds after the last key press before the search
const SELECTS = /** @type {const} */ ({ checkpoint: "checkpoints", sampler: "samplers", tag: "tags", decision: "decisions" });
const FACET_OF = /** @type {const} */ ({ ...SELECTS, collection: "collections" });

export class Filters {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typingTimer;

  /** @param {() => void} onchange */
  constructor(onchange) {
    this.onchange = onchange;
    /** @type {Values} */
    this.values = { ...EMPTY };
    this.search = h("input", {
      type: "search", class: "sl-field", value: this.values.query, placeholder: t("gallery.search"), "aria-label": t("gallery.search"),
      autocomplete: "off", spellcheck: "false", maxlength: "1000", enterkeyhint: "search",
      oninput: () => this.#setSoon({ query: this.search.value }),
    });
    this.favourite = button({
      icon: "heart", label: t("gallery.favourites"), class: "sl-button sl-heart-words", "aria-pressed": String(this.values.favourite),
      onclick: () => this.set({ favourite: !this.values.favourite }),
    });
    this.selects = Object.fromEntries(
      Object.keys(SELECTS).map((name) => [name, h("select", { class: "sl-field", "aria-label": t(`gallery.${name}`), onchange: (/** @type {any} */ { target }) => this.set({ [name]: target.value }) })]),
    );
    this.dates = Object.fromEntries(
      ["from", "to"].map((name) => [name, h("input", { type: "date", class: "sl-field", value: this.values[/** @type {"from"} */ (name)], onchange: (/** @type {any} */ { target }) => this.set({ [name]: target.value }) })]),
    );
    this.clear = button({ icon: "close", label: t("gallery.clear"), kind: "quiet", onclick: () => this.reset() });
    this.toggle = button({ icon: "filter", label: t("gallery.filters"), class: "sl-button sl-gallery-more", "aria-expanded": "false", "aria-controls": "sl-gallery-filters", onclick: () => this.#toggleFilters() });
    this.bar = h("div", { class: "sl-gallery-filters", id: "sl-gallery-filters" },
      ...Object.values(this.selects),
      ...["from", "to"].map((name) => h("label", { class: "sl-gallery-date" }, h("span", {}, t(`gallery.${name}`)), this.dates[name])),
      this.clear,
    );
    this.sort = h("select", { class: "sl-field sl-gallery-sort", "aria-label": t("gallery.sort"), onchange: () => this.set({ sort: this.sort.value }) },
      SORTS.map((name) => h("option", { value: name }, t(`gallery.sort.${name}`))));
    this.searchBox = h("div", { class: "sl-gallery-search", role: "search" }, icon("search"), this.search, searchHelp());
    this.setFacets(NO_FACETS);
    this.#render();
  }

  /** Whether any filter is set. */
  get active() {
    return this.#activeFilters.length > 0;
  }

  /** The filters that are set; the order is none. */
  get #activeFilters() {
    return Object.entries(this.values).filter(([name, value]) => name !== "sort" && value !== EMPTY[/** @type {keyof Values} */ (name)]);
  }

  /** The filters as query parameters of GET /v1/gallery. @returns {import("./results.js").GalleryQuery} */
  get query() {
    const { from, to, favourite, sort, query, ...rest } = this.values;
    const words = query.trim();
    const order = sort === "newest" || (sort === "relevance" && !words) ? null : sort; // relevance needs words
    return { ...rest, query: words, since: startOfDay(from), until: startOfDay(to, 1), favourite: favourite || null, sort: order };
  }

  /** What is set: search text, filters and order. @returns {Partial<Values>} */
  get given() {
    return Object.fromEntries(Object.entries(this.values).filter(([name, value]) => value !== EMPTY[/** @type {keyof Values} */ (name)]));
  }

  /** Set everything anew. @param {Partial<Values>} values  what is missing is cleared, what is unknown left out */
  replace(values) {
    this.set({ ...EMPTY, ...Object.fromEntries(Object.entries(values).filter(([name]) => name in EMPTY)) });
  }

  /** The number of entries, if the facets' counts tell it: without filters, or with one facet; else 0. @param {Facets} facets */
  expectedTotal(facets) {
    const set = this.#activeFilters;
    if (!set.length) return Object.values(facets.decisions).reduce((sum, each) => sum + each, 0);
    const [name, value] = /** @type {[keyof typeof FACET_OF, string]} */ (set[0]);
    return set.length === 1 && name in FACET_OF ? (facets[FACET_OF[name]][value] ?? 0) : 0;
  }

  /** Set the choices of the filters. @param {Facets} facets */
  setFacets(facets) {
    for (const [name, list] of Object.entries(this.selects)) {
      const chosen = this.values[/** @type {"sampler"} */ (name)];
      const counts = facets[SELECTS[/** @type {"sampler"} */ (name)]];
      const names = Object.keys(counts);
      if (chosen && !(chosen in counts)) names.push(chosen);
      const title = (/** @type {string} */ each) => (name === "decision" ? t(`decision.${each}`) : each);
      setChildren(list, h("option", { value: "" }, t(`gallery.${name}.all`)),
        names.map((each) => h("option", { value: each }, `${title(each)} (${formatNumber(counts[each] ?? 0)})`)));
      list.value = chosen;
      list.hidden = name === "tag" && !names.length;
    }
  }

  /** @param {Partial<Values>} changes */
  set(changes) {
    clearTimeout(this.#typingTimer);
    this.values = { ...this.values, query: this.search.value, ...changes };
    if (this.search.value !== this.values.query) this.search.value = this.values.query;
    this.#render();
    this.onchange();
  }

  /** Clear all filters; the order stays. */
  reset() {
    this.replace({ sort: this.values.sort });
    this.search.focus();
  }

  /** @param {Partial<Values>} changes */
  #setSoon(changes) {
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => this.set(changes), TYPING_DELAY);
  }

  #render() {
    this.favourite.setAttribute("aria-pressed", String(this.values.favourite));
    this.clear.hidden = !this.active;
    for (const [name, field] of Object.entries({ ...this.selects, ...this.dates, sort: this.sort })) {
      const value = this.values[/** @type {"sampler"} */ (name)];
      if (field instanceof HTMLSelectElement && ![...field.options].some((option) => option.value === value)) field.append(h("option", { value }, value));
      field.value = value;
    }
    for (const field of [...Object.values(this.selects), ...Object.values(this.dates)]) field.classList.toggle("sl-set", !!field.value);
  }

  #toggleFilters() {
    const open = this.bar.classList.toggle("sl-open");
    this.toggle.setAttribute("aria-expanded", String(open));
  }
}

/** A button that explains what a search understands. */
function searchHelp() {
  const rows = ["all", "phrase", "minus", "or", "prefix"].map((name) => h("li", {}, h("code", {}, t(`gallery.help.${name}.example`)), h("span", {}, t(`gallery.help.${name}`))));
  /** @type {HTMLButtonElement} */
  const help = button({
    icon: "help", label: t("gallery.help"), iconOnly: true, class: "sl-button sl-bare sl-gallery-help", "aria-haspopup": "dialog", "aria-expanded": "false",
    onclick: () => openPopover(help, t("gallery.help"), [h("ul", { class: "sl-search-help" }, rows)]),
  });
  return help;
}

/** The start of a day in local time, in the API's format. @param {string} date  such as 2026-11-25, or empty @param {number} [offsetDays] */
function startOfDay(date, offsetDays = 0) {
  if (!date) return null;
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day + offsetDays).toISOString();
}
