// The Gallery tab: search, browse, mark and compare all pictures.

import { get } from "./core/api.js";
import { button, h, icon, setChildren } from "./core/dom.js";
import { isFinished } from "./core/job_store.js";
import { registerShortcut } from "./core/shortcuts.js";
import { formatDate, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { Filters } from "./gallery/filters.js";
import { Grid } from "./gallery/grid.js";
import { Results } from "./gallery/results.js";
import { followGalleryAddress } from "./gallery/address.js";
import { openViewer, registerViewerShortcuts } from "./viewer.js";
import { openCompare } from "./viewer/compare.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./types").GalleryEntry} GalleryEntry */
/** @typedef {import("./types").PageContext} PageContext */

const MAX_COUNTED = 10000; // entries that are loaded without scrolling, to show their exact number
const COUNT_DELAY = 600; // milliseconds after a search before its results are counted
const NEW_ENTRIES_DELAY = 200; // milliseconds in which several ended jobs cause one request
const MIN_HEIGHT = 320; // minimum height of the grid, pixels

/** @param {HTMLElement} root @param {PageContext} context */
export function mount(root, context) {
  followGalleryAddress(new Gallery(root, context));
}

class Gallery {
  #visible = false;
  #outdated = false; // whether jobs ended while the tab was hidden
  /** @type {import("./gallery/filters.js").Facets} */
  #facets = { checkpoints: {}, samplers: {}, decisions: {} };
  /** Ids of the pictures selected for comparison; null: not selecting. @type {string[] | null} */
  #selected = null;
  /** The pending request that saves a favourite. @type {Promise<void> | null} */
  #savingFavourite = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #newEntriesTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #countTimer;

  /** @param {HTMLElement} root @param {PageContext} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    addEventListener("sl:entry", (event) => this.#onEntryChange(/** @type {CustomEvent} */ (event).detail));
    this.results = new Results({ onchange: () => this.#render(), onfailure: showError, isBeingDeleted: context.actions.isBeingDeleted });
    this.filters = new Filters(() => (this.onquery(), this.#search()));
    this.grid = new Grid({
      label: t("gallery.grid"),
      total: () => this.results.total || (this.results.ready || this.results.failure ? 0 : 60),
      at: (index) => this.results.entries[index],
      ensureLoaded: (index) => this.results.ensureLoaded(index),
      activate: (index) => this.#activate(index),
      favourite: (index) => this.#favourite(index),
      isSelected: (id) => this.#selected && this.#selected.includes(id),
      onscroll: (first) => this.#showDay(first),
    });
    this.countNote = h("p", { class: "sl-gallery-number", role: "status" });
    this.dayNote = h("p", { class: "sl-gallery-day" });
    this.compareButton = button({ icon: "compare", label: t("gallery.compare"), "aria-pressed": "false", onclick: () => this.#setSelecting(!this.#selected) });
    this.newButton = button({ icon: "plus", label: "", kind: "primary", hidden: true, onclick: () => this.#insertNew() });
    this.note = h("div", { class: "sl-gallery-note" });
    const { filters } = this;
    this.section = h("section", { class: "sl-gallery", "aria-label": t("gallery.title") },
      h("h2", { class: "sl-hidden" }, t("gallery.title")),
      h("div", { class: "sl-gallery-tools" }, filters.searchBox, filters.favourite, filters.toggle, this.compareButton, filters.bar),
      h("div", { class: "sl-gallery-line" }, this.countNote, this.dayNote),
      h("div", { class: "sl-gallery-place" }, this.grid.element, this.note,
        h("div", { class: "sl-gallery-fresh", role: "status" }, this.newButton)));
    setChildren(root, this.section);
    this.#addListeners();
  }

  /** Called when the search text, a filter or the order has changed. */
  onquery = () => {};

  /** Search text, filters and order, without those that are not set. @returns {Partial<import("./gallery/filters.js").Values>} */
  get query() {
    return this.filters.given;
  }
  set query(values) {
    this.filters.replace(values);
  }

  #addListeners() {
    const { jobStore } = this.context;
    jobStore.subscribe((change) => {
      if (change.type === "jobs" || (change.type === "job" && change.job.kind !== "scan" && isFinished(change.job))) this.#scheduleNewEntries();
    });
    new IntersectionObserver((entries) => this.#onVisibilityChange(!!entries.at(-1)?.isIntersecting)).observe(this.section);
    addEventListener("resize", () => this.#resize());
    const isActive = () => this.#visible && noDialogOpen();
    const isTileFocused = () => isActive() && this.grid.hasFocus && !!this.results.entries[this.grid.active];
    registerShortcut("/", "gallery.search", () => this.filters.search.select(), { isActive });
    registerShortcut("f", "viewer.favourite", () => this.#favourite(this.grid.active), { isActive: isTileFocused });
    registerShortcut("Delete", "viewer.delete", () => this.#remove(this.grid.active), { isActive: isTileFocused });
    registerShortcut("c", "gallery.choose", () => this.#toggleSelected(this.grid.active), { isActive: isTileFocused });
    registerShortcut("Escape", "gallery.choose.end", () => this.#setSelecting(false), { isActive: () => isActive() && !!this.#selected });
    registerViewerShortcuts();
  }

  /** The tab was shown or hidden. @param {boolean} visible */
  #onVisibilityChange(visible) {
    const first = visible && !this.results.ready && !this.#visible;
    this.#visible = visible;
    if (!visible) return;
    this.#resize();
    if (first) this.#search();
    else if (this.#outdated) this.#scheduleNewEntries();
  }

  /** Fill the window's height, so that only the grid scrolls. */
  #resize() {
    if (!this.root.offsetParent) return;
    this.section.style.height = `${innerHeight}px`; // makes the page longer than the window, so that the space below can be measured
    const { top, bottom } = this.section.getBoundingClientRect();
    const below = Math.max(0, document.documentElement.scrollHeight - (bottom + scrollY));
    const height = Math.max(MIN_HEIGHT, innerHeight - (top + scrollY) - Math.min(below, 64));
    this.section.style.height = `${height}px`;
  }

  /** Search with the current filters, from the top. */
  #search = withErrorToast(async () => {
    clearTimeout(this.#countTimer);
    if (this.#savingFavourite) await this.#savingFavourite; // the search must see the saved favourite
    const started = this.results.search(this.filters.query);
    this.grid.toTop();
    this.#render();
    await Promise.all([started, this.#loadFacets()]);
    this.#countTimer = setTimeout(() => this.#loadAll(), COUNT_DELAY);
  });

  /** Load the facets: the number of entries and the filters' choices. */
  async #loadFacets() {
    this.#facets = await get("/v1/gallery/facets");
    this.filters.setFacets(this.#facets);
    this.results.setExpected(this.filters.expectedTotal(this.#facets));
  }

  /** Load all results, to show their exact number. */
  async #loadAll() {
    const { results } = this;
    while (!results.exact && !results.failure && results.entries.length < MAX_COUNTED && this.#visible) {
      if (!(await results.loadMore()).length) return;
    }
  }

  /** A job has ended: look for new entries soon, or when the tab is next shown. */
  #scheduleNewEntries() {
    this.#outdated = !this.#visible;
    if (this.#outdated || !this.results.ready) return;
    clearTimeout(this.#newEntriesTimer);
    this.#newEntriesTimer = setTimeout(withErrorToast(async () => {
      await this.results.fetchNew();
      if (this.results.newEntries.length && this.grid.atTop && noDialogOpen()) this.#insertNew();
      this.#facets = await get("/v1/gallery/facets");
      this.filters.setFacets(this.#facets);
    }), NEW_ENTRIES_DELAY);
  }

  /** Insert the new entries. */
  #insertNew() {
    const { grid } = this;
    const keepFocus = grid.atTop && grid.hasFocus, pressed = document.activeElement === this.newButton;
    const amount = this.results.insertNew();
    if (keepFocus) grid.focus(grid.active + amount);
    else grid.toTop();
    if (pressed) grid.focus(0); // the button is hidden now
  }

  #render() {
    const { results } = this;
    const empty = results.ready && !results.total;
    const failed = !!results.failure && !results.entries.length;
    this.grid.element.hidden = empty || failed;
    setChildren(this.note, failed ? this.#failureNote() : empty && (this.filters.active ? this.#noMatchNote() : this.#emptyNote()));
    this.grid.refresh();
    const total = results.total - (results.exact ? 0 : 1);
    const textKey = !results.ready ? "gallery.loading" : !results.exact ? "gallery.at_least" : this.filters.active ? "gallery.found" : "gallery.all";
    this.countNote.textContent = failed || (empty && !this.filters.active) ? "" : this.#selected ? t("gallery.choosing", { n: 2 - this.#selected.length }) : results.ready ? t(textKey, { n: total }) : t(textKey);
    this.#renderNewButton(results.newEntries.length);
    this.compareButton.disabled = results.ready && results.total < 2;
  }

  /** @param {number} n  number of new entries; the button stays the same element, so that it keeps the focus and is announced once */
  #renderNewButton(n) {
    const words = /** @type {Element} */ (this.newButton.lastElementChild), text = n ? t("gallery.new", { n }) : "";
    if (words.textContent !== text) words.textContent = text;
    this.newButton.hidden = !n;
  }

  /** Show the date of the first visible picture. @param {number} first */
  #showDay(first) {
    const created = this.results.entries[first]?.created.slice(0, 10) ?? "";
    if (this.dayNote?.dataset.day === created) return;
    if (!this.dayNote) return;
    this.dayNote.dataset.day = created;
    this.dayNote.textContent = created && formatDate(this.results.entries[first].created);
  }

  #emptyNote() {
    return h("div", { class: "sl-empty" }, icon("brush"), h("h3", {}, t("gallery.empty")), h("p", {}, t("gallery.empty.how")),
      button({ label: t("gallery.empty.create"), kind: "primary", onclick: () => this.context.show("create") }));
  }

  #noMatchNote() {
    return h("div", { class: "sl-empty" }, icon("search"), h("h3", {}, t("gallery.nothing")), h("p", {}, t("gallery.nothing.how")),
      button({ label: t("gallery.clear"), onclick: () => this.filters.reset() }));
  }

  #failureNote() {
    return h("div", { class: "sl-empty" }, icon("warning"), h("h3", {}, t("gallery.failed")),
      button({ label: t("gallery.again"), onclick: () => this.#search() }));
  }

  /** @param {number} index */
  #activate(index) {
    if (this.#selected) this.#toggleSelected(index);
    else this.#openViewer(index);
  }

  /** Apply a change of a picture, made here or in another part of the page. @param {import("./viewer.js").EntryChange} change */
  #onEntryChange({ kind, id, ...fields }) {
    if (kind === "favourite") this.results.update(id, fields);
    else if (kind === "removed") this.results.remove(id);
    else this.#restore(id);
  }

  /** @param {number} index */
  #openViewer(index) {
    const { results, grid } = this;
    openViewer(this.context, results.entries, index, {
      total: () => results.total - (results.exact ? 0 : 1),
      load: () => results.loadMore(),
      onchange: (change) => (change.kind === "favourite" ? this.#onEntryChange(change) : dispatchEntryChange(change)),
      onclose: (id) => {
        const at = id === null ? -1 : results.indexOf(id);
        return grid.focus(at < 0 ? grid.active : at);
      },
    });
  }

  /** @param {number} index */
  #favourite = withErrorToast(async (/** @type {number} */ index) => {
    const { id, favourite } = this.results.entries[index];
    this.results.update(id, { favourite: !favourite });
    const marked = this.context.actions.favourite(id, !favourite);
    const marking = (this.#savingFavourite = marked.then(() => {}, () => {}).then(() => {
      if (this.#savingFavourite === marking) this.#savingFavourite = null;
    }));
    try {
      await marked;
    } catch (error) {
      this.results.update(id, { favourite });
      throw error;
    }
  });

  /** @param {number} index */
  #remove(index) {
    const { id } = this.results.entries[index];
    this.context.actions.remove(id, {
      hide: () => {
        dispatchEntryChange({ kind: "removed", id });
        this.grid.focus(index);
      },
      restore: () => dispatchEntryChange({ kind: "restored", id }),
    });
  }

  /** @param {string} id */
  #restore(id) {
    if (!this.results.restore(id)) this.#search();
  }

  /** Start or stop selecting two pictures. @param {boolean} on */
  #setSelecting(on) {
    this.#selected = on ? [] : null;
    this.compareButton.setAttribute("aria-pressed", String(on));
    this.section.classList.toggle("sl-choosing", on);
    if (on) this.grid.element.setAttribute("aria-multiselectable", "true");
    else this.grid.element.removeAttribute("aria-multiselectable");
    this.#render();
  }

  /** Select or deselect a picture; the second selection opens the comparison. @param {number} index */
  #toggleSelected(index) {
    const { id, decision, missing } = this.results.entries[index];
    if (decision === "block" || missing) return toast(t("gallery.choose.not"));
    if (!this.#selected) this.#setSelecting(true);
    const chosen = this.#selected ?? [];
    this.#selected = chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id];
    this.#render();
    if (this.#selected.length < 2) return;
    const [one, other] = this.#selected;
    this.#setSelecting(false);
    openCompare(one, other, { among: this.results.entries, focus: () => this.grid.focus(this.results.indexOf(other)) });
  }
}

/** Dispatch a change of a picture to the whole page, including this gallery. @param {import("./viewer.js").EntryChange} detail */
const dispatchEntryChange = (detail) => dispatchEvent(new CustomEvent("sl:entry", { detail }));
