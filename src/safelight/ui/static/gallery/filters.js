// What is looked for: words, and the filters beside them; kept over a reload.

import { button, fill, h, icon } from "../core/dom.js";
import { number, t } from "../core/text.js";

/** @typedef {{query: string, checkpoint: string, sampler: string, decision: string, from: string, to: string, favourite: boolean}} Values */
/** @typedef {{checkpoints: Record<string, number>, samplers: Record<string, number>, decisions: Record<string, number>}} Facets */

const NOTHING = { query: "", checkpoint: "", sampler: "", decision: "", from: "", to: "", favourite: false };
const KEPT = "safelight.gallery";
const PAUSE = 150; // milliseconds without a key until it is looked for
const LISTS = /** @type {const} */ ({ checkpoint: "checkpoints", sampler: "samplers", decision: "decisions" });

export class Filters {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;

  /** @param {() => void} onchange */
  constructor(onchange) {
    this.onchange = onchange;
    /** @type {Values} */
    this.values = kept();
    this.search = h("input", {
      type: "search", class: "sl-field", value: this.values.query, placeholder: t("gallery.search"), "aria-label": t("gallery.search"),
      autocomplete: "off", spellcheck: "false", maxlength: "1000", enterkeyhint: "search",
      oninput: () => this.#later({ query: this.search.value }),
    });
    this.favourite = button({
      icon: "heart", label: t("gallery.favourites"), class: "sl-button sl-heart-words", "aria-pressed": String(this.values.favourite),
      onclick: () => this.set({ favourite: !this.values.favourite }),
    });
    this.lists = Object.fromEntries(
      Object.keys(LISTS).map((name) => [name, h("select", { class: "sl-field", "aria-label": t(`gallery.${name}`), onchange: (/** @type {any} */ { target }) => this.set({ [name]: target.value }) })]),
    );
    this.dates = Object.fromEntries(
      ["from", "to"].map((name) => [name, h("input", { type: "date", class: "sl-field", value: this.values[/** @type {"from"} */ (name)], onchange: (/** @type {any} */ { target }) => this.set({ [name]: target.value }) })]),
    );
    this.clear = button({ icon: "close", label: t("gallery.clear"), kind: "quiet", onclick: () => this.reset() });
    this.more = button({ icon: "filter", label: t("gallery.filters"), class: "sl-button sl-gallery-more", "aria-expanded": "false", "aria-controls": "sl-gallery-filters", onclick: () => this.#unfold() });
    this.bar = h("div", { class: "sl-gallery-filters", id: "sl-gallery-filters" },
      ...Object.values(this.lists),
      ...["from", "to"].map((name) => h("label", { class: "sl-gallery-date" }, h("span", {}, t(`gallery.${name}`)), this.dates[name])),
      this.clear,
    );
    this.box = h("div", { class: "sl-gallery-search", role: "search" }, icon("search"), this.search);
    this.offer({ checkpoints: {}, samplers: {}, decisions: {} });
    this.#show();
  }

  /** Whether anything is left out. */
  get active() {
    return Object.entries(NOTHING).some(([name, nothing]) => this.values[/** @type {keyof Values} */ (name)] !== nothing);
  }

  /** What GET /v1/gallery is asked for. @returns {import("./results.js").Wanted} */
  get wanted() {
    const { query, checkpoint, sampler, decision, from, to, favourite } = this.values;
    return { query: query.trim(), checkpoint, sampler, decision, since: dayOf(from), until: dayOf(to, 1), favourite: favourite || null };
  }

  /** How many there are, where the counts say that alone: 0 where they do not. @param {Facets} facets */
  expected(facets) {
    const set = Object.entries(this.values).filter(([name, value]) => value !== NOTHING[/** @type {keyof Values} */ (name)]);
    if (!set.length) return Object.values(facets.decisions).reduce((sum, each) => sum + each, 0);
    const [name, value] = /** @type {[keyof typeof LISTS, string]} */ (set[0]);
    return set.length === 1 && name in LISTS ? (facets[LISTS[name]][value] ?? 0) : 0;
  }

  /** What there is to choose from. @param {Facets} facets */
  offer(facets) {
    for (const [name, list] of Object.entries(this.lists)) {
      const chosen = this.values[/** @type {"sampler"} */ (name)];
      const counts = facets[LISTS[/** @type {"sampler"} */ (name)]];
      const names = Object.keys(counts);
      if (chosen && !(chosen in counts)) names.push(chosen);
      const title = (/** @type {string} */ each) => (name === "decision" ? t(`decision.${each}`) : each);
      fill(list, h("option", { value: "" }, t(`gallery.${name}.all`)),
        names.map((each) => h("option", { value: each }, `${title(each)} (${number(counts[each] ?? 0)})`)));
      list.value = chosen;
    }
  }

  /** @param {Partial<Values>} changes */
  set(changes) {
    clearTimeout(this.#pause);
    this.values = { ...this.values, query: this.search.value, ...changes };
    this.#show();
    sessionStorage.setItem(KEPT, JSON.stringify(this.values));
    this.onchange();
  }

  /** Look for everything. */
  reset() {
    for (const field of [this.search, ...Object.values(this.lists), ...Object.values(this.dates)]) field.value = "";
    this.set(NOTHING);
    this.search.focus();
  }

  /** @param {Partial<Values>} changes */
  #later(changes) {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.set(changes), PAUSE);
  }

  #show() {
    this.favourite.setAttribute("aria-pressed", String(this.values.favourite));
    this.clear.hidden = !this.active;
    for (const field of [...Object.values(this.lists), ...Object.values(this.dates)]) field.classList.toggle("sl-set", !!field.value);
  }

  #unfold() {
    const open = this.bar.classList.toggle("sl-open");
    this.more.setAttribute("aria-expanded", String(open));
  }
}

/** @returns {Values} */
function kept() {
  try {
    return { ...NOTHING, ...JSON.parse(sessionStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return { ...NOTHING };
  }
}

/** The beginning of a day here, as the API takes it. @param {string} date  2026-11-25, or nothing @param {number} [later]  days */
function dayOf(date, later = 0) {
  if (!date) return null;
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day + later).toISOString();
}
