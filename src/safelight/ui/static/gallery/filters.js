// The gallery's search text and filters; the address has them.

import { button, h, icon, setChildren } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";

/** @typedef {{query: string, checkpoint: string, sampler: string, decision: string, from: string, to: string, favourite: boolean}} Values */
/** @typedef {{checkpoints: Record<string, number>, samplers: Record<string, number>, decisions: Record<string, number>}} Facets */

const EMPTY = { query: "", checkpoint: "", sampler: "", decision: "", from: "", to: "", favourite: false };
const TYPING_DELAY = 150; // milliseconds after the last key press before the search
const FACET_OF = /** @type {const} */ ({ checkpoint: "checkpoints", sampler: "samplers", decision: "decisions" });

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
      Object.keys(FACET_OF).map((name) => [name, h("select", { class: "sl-field", "aria-label": t(`gallery.${name}`), onchange: (/** @type {any} */ { target }) => this.set({ [name]: target.value }) })]),
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
    this.searchBox = h("div", { class: "sl-gallery-search", role: "search" }, icon("search"), this.search);
    this.setFacets({ checkpoints: {}, samplers: {}, decisions: {} });
    this.#render();
  }

  /** Whether any filter is set. */
  get active() {
    return Object.entries(EMPTY).some(([name, empty]) => this.values[/** @type {keyof Values} */ (name)] !== empty);
  }

  /** The filters as query parameters of GET /v1/gallery. @returns {import("./results.js").GalleryQuery} */
  get query() {
    const { query, checkpoint, sampler, decision, from, to, favourite } = this.values;
    return { query: query.trim(), checkpoint, sampler, decision, since: startOfDay(from), until: startOfDay(to, 1), favourite: favourite || null };
  }

  /** What is set: search text and filters. @returns {Partial<Values>} */
  get given() {
    return Object.fromEntries(Object.entries(this.values).filter(([name, value]) => value !== EMPTY[/** @type {keyof Values} */ (name)]));
  }

  /** Set everything anew. @param {Partial<Values>} values  what is missing is cleared */
  replace(values) {
    for (const field of [this.search, ...Object.values(this.selects), ...Object.values(this.dates)]) field.value = "";
    this.search.value = values.query ?? "";
    for (const [name, field] of Object.entries(this.dates)) field.value = String(values[/** @type {"from"} */ (name)] ?? "");
    this.set({ ...EMPTY, ...values });
  }

  /** The number of entries, if the facets' counts tell it: without filters, or with one facet; else 0. @param {Facets} facets */
  expectedTotal(facets) {
    const set = Object.entries(this.values).filter(([name, value]) => value !== EMPTY[/** @type {keyof Values} */ (name)]);
    if (!set.length) return Object.values(facets.decisions).reduce((sum, each) => sum + each, 0);
    const [name, value] = /** @type {[keyof typeof FACET_OF, string]} */ (set[0]);
    return set.length === 1 && name in FACET_OF ? (facets[FACET_OF[name]][value] ?? 0) : 0;
  }

  /** Set the choices of the filters. @param {Facets} facets */
  setFacets(facets) {
    for (const [name, list] of Object.entries(this.selects)) {
      const chosen = this.values[/** @type {"sampler"} */ (name)];
      const counts = facets[FACET_OF[/** @type {"sampler"} */ (name)]];
      const names = Object.keys(counts);
      if (chosen && !(chosen in counts)) names.push(chosen);
      const title = (/** @type {string} */ each) => (name === "decision" ? t(`decision.${each}`) : each);
      setChildren(list, h("option", { value: "" }, t(`gallery.${name}.all`)),
        names.map((each) => h("option", { value: each }, `${title(each)} (${formatNumber(counts[each] ?? 0)})`)));
      list.value = chosen;
    }
  }

  /** @param {Partial<Values>} changes */
  set(changes) {
    clearTimeout(this.#typingTimer);
    this.values = { ...this.values, query: this.search.value, ...changes };
    this.#render();
    this.onchange();
  }

  /** Clear all filters. */
  reset() {
    for (const field of [this.search, ...Object.values(this.selects), ...Object.values(this.dates)]) field.value = "";
    this.set(EMPTY);
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
    for (const field of [...Object.values(this.selects), ...Object.values(this.dates)]) field.classList.toggle("sl-set", !!field.value);
  }

  #toggleFilters() {
    const open = this.bar.classList.toggle("sl-open");
    this.toggle.setAttribute("aria-expanded", String(open));
  }
}

/** The start of a day in local time, in the API's format. @param {string} date  such as 2026-11-25, or empty @param {number} [offsetDays] */
function startOfDay(date, offsetDays = 0) {
  if (!date) return null;
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day + offsetDays).toISOString();
}
