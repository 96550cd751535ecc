// Everything that was made: found, looked through, marked, compared.

import { get } from "./core/api.js";
import { button, fill, h, icon } from "./core/dom.js";
import { shortcut } from "./core/keys.js";
import { isOver } from "./core/live.js";
import { day, t } from "./core/text.js";
import { complain, toast, watched } from "./core/toast.js";
import { Filters } from "./gallery/filters.js";
import { Grid } from "./gallery/grid.js";
import { Results } from "./gallery/results.js";
import { listenForViewer, openViewer } from "./viewer.js";
import { openCompare } from "./viewer/compare.js";
import { nothingOver } from "./viewer/overlay.js";

/** @typedef {import("./types").Entry} Entry */
/** @typedef {import("./types").Studio} Studio */

const COUNTED = 10000; // entries that are loaded without being scrolled to, so that their number can be said
const CALM = 600; // milliseconds a search stands until its results are counted
const SOON = 200; // milliseconds in which several jobs that end are looked after once
const LEAST = 320; // pixels: the grid's height at least

/** @param {HTMLElement} root @param {Studio} studio */
export function mount(root, studio) {
  new Gallery(root, studio);
}

class Gallery {
  #visible = false;
  #stale = false; // whether something was made while nobody looked
  /** @type {import("./gallery/filters.js").Facets} */
  #facets = { checkpoints: {}, samplers: {}, decisions: {} };
  /** The pictures that are to be compared; null: none are being chosen. @type {string[] | null} */
  #chosen = null;
  /** The mark that is being written. @type {Promise<void> | null} */
  #marking = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #soon;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #count;

  /** @param {HTMLElement} root @param {Studio} studio */
  constructor(root, studio) {
    this.root = root;
    this.studio = studio;
    addEventListener("sl:entry", (event) => this.#learn(/** @type {CustomEvent} */ (event).detail));
    this.results = new Results({ onchange: () => this.#show(), onfailure: complain, isDoomed: studio.actions.isDoomed });
    this.filters = new Filters(() => this.#search());
    this.grid = new Grid({
      label: t("gallery.grid"),
      total: () => this.results.total || (this.results.ready || this.results.failure ? 0 : 60),
      at: (index) => this.results.entries[index],
      need: (index) => this.results.need(index),
      press: (index) => this.#press(index),
      favourite: (index) => this.#favourite(index),
      chosen: (id) => this.#chosen && this.#chosen.includes(id),
      scrolled: (first) => this.#say(first),
    });
    this.number = h("p", { class: "sl-gallery-number", role: "status" });
    this.day = h("p", { class: "sl-gallery-day" });
    this.compare = button({ icon: "compare", label: t("gallery.compare"), "aria-pressed": "false", onclick: () => this.#choose(!this.#chosen) });
    this.fresh = button({ icon: "plus", label: "", kind: "primary", hidden: true, onclick: () => this.#admit() });
    this.note = h("div", { class: "sl-gallery-note" });
    const { filters } = this;
    this.section = h("section", { class: "sl-gallery", "aria-label": t("gallery.title") },
      h("h2", { class: "sl-hidden" }, t("gallery.title")),
      h("div", { class: "sl-gallery-tools" }, filters.box, filters.favourite, filters.more, this.compare, filters.bar),
      h("div", { class: "sl-gallery-line" }, this.number, this.day),
      h("div", { class: "sl-gallery-place" }, this.grid.element, this.note,
        h("div", { class: "sl-gallery-fresh", role: "status" }, this.fresh)));
    fill(root, this.section);
    this.#listen();
  }

  #listen() {
    const { live } = this.studio;
    live.listen((change) => {
      if (change.type === "jobs" || (change.type === "job" && change.job.kind !== "scan" && isOver(change.job))) this.#later();
    });
    new IntersectionObserver((entries) => this.#appear(!!entries.at(-1)?.isIntersecting)).observe(this.section);
    addEventListener("resize", () => this.#stretch());
    const here = () => this.#visible && nothingOver();
    const tile = () => here() && this.grid.hasFocus && !!this.results.entries[this.grid.active];
    shortcut("/", "gallery.search", () => this.filters.search.select(), { when: here });
    shortcut("f", "viewer.favourite", () => this.#favourite(this.grid.active), { when: tile });
    shortcut("Delete", "viewer.delete", () => this.#remove(this.grid.active), { when: tile });
    shortcut("c", "gallery.choose", () => this.#pick(this.grid.active), { when: tile });
    shortcut("Escape", "gallery.choose.end", () => this.#choose(false), { when: () => here() && !!this.#chosen });
    listenForViewer();
  }

  /** The tab is shown, or another. @param {boolean} visible */
  #appear(visible) {
    const first = visible && !this.results.ready && !this.#visible;
    this.#visible = visible;
    if (!visible) return;
    this.#stretch();
    if (first) this.#search();
    else if (this.#stale) this.#later();
  }

  /** As high as there is room in the window, so that nothing but the grid scrolls. */
  #stretch() {
    if (!this.root.offsetParent) return;
    this.section.style.height = `${innerHeight}px`; // so that the page is longer than the window, and its end can be seen
    const { top, bottom } = this.section.getBoundingClientRect();
    const below = Math.max(0, document.documentElement.scrollHeight - (bottom + scrollY));
    const height = Math.max(LEAST, innerHeight - (top + scrollY) - Math.min(below, 64));
    this.section.style.height = `${height}px`;
  }

  /** Look for what the filters say, from the beginning. */
  #search = watched(async () => {
    clearTimeout(this.#count);
    if (this.#marking) await this.#marking; // what was just marked is to be found
    const started = this.results.start(this.filters.wanted);
    this.grid.toTop();
    this.#show();
    await Promise.all([started, this.#countAll()]);
    this.#count = setTimeout(() => this.#countFound(), CALM);
  });

  /** What there is in all, which says how long the grid is and what can be chosen. */
  async #countAll() {
    this.#facets = await get("/v1/gallery/facets");
    this.filters.offer(this.#facets);
    this.results.expect(this.filters.expected(this.#facets));
  }

  /** Load what was found to its end, so that it can be said how much it is. */
  async #countFound() {
    const { results } = this;
    while (!results.exact && !results.failure && results.entries.length < COUNTED && this.#visible) {
      if (!(await results.more()).length) return;
    }
  }

  /** Something was made: look for it soon, or when the gallery is looked at again. */
  #later() {
    this.#stale = !this.#visible;
    if (this.#stale || !this.results.ready) return;
    clearTimeout(this.#soon);
    this.#soon = setTimeout(watched(async () => {
      await this.results.look();
      if (this.results.waiting.length && this.grid.atTop && nothingOver()) this.#admit();
      this.#facets = await get("/v1/gallery/facets");
      this.filters.offer(this.#facets);
    }), SOON);
  }

  /** Let in what is new. */
  #admit() {
    const { grid } = this;
    const stay = grid.atTop && grid.hasFocus, pressed = document.activeElement === this.fresh;
    const amount = this.results.admit();
    if (stay) grid.focus(grid.active + amount);
    else grid.toTop();
    if (pressed) grid.focus(0); // the button has gone
  }

  #show() {
    const { results } = this;
    const empty = results.ready && !results.total;
    const failed = !!results.failure && !results.entries.length;
    this.grid.element.hidden = empty || failed;
    fill(this.note, failed ? this.#failed() : empty && (this.filters.active ? this.#nothing() : this.#welcome()));
    this.grid.refresh();
    const found = results.total - (results.exact ? 0 : 1);
    const says = !results.ready ? "gallery.loading" : !results.exact ? "gallery.at_least" : this.filters.active ? "gallery.found" : "gallery.all";
    this.number.textContent = failed || (empty && !this.filters.active) ? "" : this.#chosen ? t("gallery.choosing", { n: 2 - this.#chosen.length }) : results.ready ? t(says, { n: found }) : t(says);
    this.#showFresh(results.waiting.length);
    this.compare.disabled = results.ready && results.total < 2;
  }

  /** @param {number} n  how many wait to be let in; the button stays the same, so that it keeps the focus and is read out once */
  #showFresh(n) {
    const words = /** @type {Element} */ (this.fresh.lastElementChild), says = n ? t("gallery.new", { n }) : "";
    if (words.textContent !== says) words.textContent = says;
    this.fresh.hidden = !n;
  }

  /** Say of which day the first picture in sight is. @param {number} first */
  #say(first) {
    const created = this.results.entries[first]?.created.slice(0, 10) ?? "";
    if (this.day?.dataset.day === created) return;
    if (!this.day) return;
    this.day.dataset.day = created;
    this.day.textContent = created && day(this.results.entries[first].created);
  }

  #welcome() {
    return h("div", { class: "sl-empty" }, icon("brush"), h("h3", {}, t("gallery.empty")), h("p", {}, t("gallery.empty.how")),
      button({ label: t("gallery.empty.create"), kind: "primary", onclick: () => this.studio.show("create") }));
  }

  #nothing() {
    return h("div", { class: "sl-empty" }, icon("search"), h("h3", {}, t("gallery.nothing")), h("p", {}, t("gallery.nothing.how")),
      button({ label: t("gallery.clear"), onclick: () => this.filters.reset() }));
  }

  #failed() {
    return h("div", { class: "sl-empty" }, icon("warning"), h("h3", {}, t("gallery.failed")),
      button({ label: t("gallery.again"), onclick: () => this.#search() }));
  }

  /** @param {number} index */
  #press(index) {
    if (this.#chosen) this.#pick(index);
    else this.#open(index);
  }

  /** Take in what was done to a picture, here or elsewhere in the page. @param {import("./viewer.js").EntryChange} change */
  #learn({ kind, id, ...fields }) {
    if (kind === "favourite") this.results.change(id, fields);
    else if (kind === "removed") this.results.take(id);
    else this.#restore(id);
  }

  /** @param {number} index */
  #open(index) {
    const { results, grid } = this;
    openViewer(this.studio, results.entries, index, {
      total: () => results.total - (results.exact ? 0 : 1),
      load: () => results.more(),
      onchange: (change) => (change.kind === "favourite" ? this.#learn(change) : tell(change)),
      onclose: (id) => {
        const at = id === null ? -1 : results.indexOf(id);
        return grid.focus(at < 0 ? grid.active : at);
      },
    });
  }

  /** @param {number} index */
  #favourite = watched(async (/** @type {number} */ index) => {
    const { id, favourite } = this.results.entries[index];
    this.results.change(id, { favourite: !favourite });
    const marked = this.studio.actions.favourite(id, !favourite);
    const marking = (this.#marking = marked.then(() => {}, () => {}).then(() => {
      if (this.#marking === marking) this.#marking = null;
    }));
    try {
      await marked;
    } catch (error) {
      this.results.change(id, { favourite });
      throw error;
    }
  });

  /** @param {number} index */
  #remove(index) {
    const { id } = this.results.entries[index];
    this.studio.actions.remove(id, {
      hide: () => {
        tell({ kind: "removed", id });
        this.grid.focus(index);
      },
      restore: () => tell({ kind: "restored", id }),
    });
  }

  /** @param {string} id */
  #restore(id) {
    if (!this.results.putBack(id)) this.#search();
  }

  /** Begin to choose two pictures, or end it. @param {boolean} on */
  #choose(on) {
    this.#chosen = on ? [] : null;
    this.compare.setAttribute("aria-pressed", String(on));
    this.section.classList.toggle("sl-choosing", on);
    if (on) this.grid.element.setAttribute("aria-multiselectable", "true");
    else this.grid.element.removeAttribute("aria-multiselectable");
    this.#show();
  }

  /** Choose a picture, or no longer; the second one opens both. @param {number} index */
  #pick(index) {
    const { id, decision, missing } = this.results.entries[index];
    if (decision === "block" || missing) return toast(t("gallery.choose.not"));
    if (!this.#chosen) this.#choose(true);
    const chosen = this.#chosen ?? [];
    this.#chosen = chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id];
    this.#show();
    if (this.#chosen.length < 2) return;
    const [one, other] = this.#chosen;
    this.#choose(false);
    openCompare(one, other, { among: this.results.entries, focus: () => this.grid.focus(this.results.indexOf(other)) });
  }
}

/** Let the whole page know what was done to a picture; the gallery hears it too. @param {import("./viewer.js").EntryChange} detail */
const tell = (detail) => dispatchEvent(new CustomEvent("sl:entry", { detail }));
