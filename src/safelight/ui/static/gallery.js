// The Gallery tab: search and browse all pictures, select some, and do something with all of those.

import { get } from "./core/api.js";
import { button, h, icon, setChildren } from "./core/dom.js";
import { isFinished } from "./core/job_store.js";
import { registerShortcut } from "./core/shortcuts.js";
import { cachedPreferences, formatDate, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { followGalleryAddress } from "./gallery/address.js";
import { BulkActions } from "./gallery/bulk_actions.js";
import { Collections } from "./gallery/collections.js";
import { acceptTiles, startDrag } from "./gallery/drag.js";
import { Filters, NO_FACETS } from "./gallery/filters.js";
import { DEFAULT_SIZE, Grid, SIZES, sizeOf } from "./gallery/grid.js";
import { Results } from "./gallery/results.js";
import { MAX_SELECTED, Selection } from "./gallery/selection.js";
import { BULK_ACTIONS, SelectionBar } from "./gallery/selection_bar.js";
import { openViewer, registerViewerShortcuts } from "./viewer.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./types").GalleryEntry} GalleryEntry */
/** @typedef {import("./types").PageContext} PageContext */

const MAX_COUNTED = 10000; // entries that are loaded without scrolling, to show their exact number
const COUNT_DELAY = 600; // milliseconds after a search before its results are counted
const NEW_ENTRIES_DELAY = 200; // milliseconds in which several ended jobs cause one request
const MAX_RELOADED = 50; // entries that are read again after another window has changed them
const SIZE_KEY = "safelight.gallery.size";
const MIN_HEIGHT = 320; // minimum height of the grid, pixels

/** @param {HTMLElement} root @param {PageContext} context @returns {Gallery} */
export function mount(root, context) {
  acceptTiles(context);
  const gallery = new Gallery(root, context);
  followGalleryAddress(gallery);
  return gallery;
}

class Gallery {
  #visible = false;
  #outdated = false; // whether jobs ended while the tab was hidden
  #facets = NO_FACETS;
  /** The pending request that saves a favourite. @type {Promise<void> | null} */
  #savingFavourite = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #newEntriesTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #countTimer;
  #searchAgain = false; // whether deleted pictures have been restored that an earlier search found

  /** @param {HTMLElement} root @param {PageContext} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    addEventListener("sl:entry", (event) => this.#onEntryChange(/** @type {CustomEvent} */ (event).detail));
    this.selection = new Selection();
    this.results = new Results({
      onchange: () => this.#render(),
      onload: (entries) => this.selection.onLoad(entries, this.results.complete),
      onfailure: showError,
      isBeingDeleted: context.actions.isBeingDeleted,
    });
    this.filters = new Filters(() => (this.onquery(), this.#search()));
    this.collections = new Collections({ owner: context.me.owner, onselect: (collection) => this.filters.set({ collection }) });
    this.bulk = new BulkActions({
      context, results: this.results, collections: this.collections,
      collection: () => this.filters.values.collection,
      announce: dispatchEntryChange,
      removed: (index) => (this.#select(() => this.selection.clear()), this.grid.focus(index)),
      done: () => this.#loadFacets(),
      focus: (id) => this.grid.focus(this.results.indexOf(id)),
    });
    this.grid = new Grid({
      label: t("gallery.grid"),
      total: () => this.results.total || (this.results.ready || this.results.failure ? 0 : 60),
      at: (index) => this.results.entries[index],
      ensureLoaded: (index) => this.results.ensureLoaded(index),
      open: (index) => this.#openViewer(index),
      favourite: (index) => this.#favourite(index),
      toggle: (index) => this.#select(() => this.selection.toggle(this.results.entries[index].id)),
      extend: (index, from) => this.#select(() => this.selection.extend(this.results.entries, index, from)),
      ondrag: startDrag,
      selecting: () => this.selection.active,
      isSelected: (index, entry) => (entry ? this.selection.has(entry.id) : index < this.results.entries.length + this.selection.ahead),
      onscroll: (first) => this.#showDay(first),
    });
    this.bar = new SelectionBar({ run: (action) => this.#run(action), clear: () => this.#endSelection(), selectAll: () => this.#selectAll() });
    this.countNote = h("p", { class: "sl-gallery-number", role: "status" });
    this.dayNote = h("p", { class: "sl-gallery-day" });
    this.selectButton = button({ icon: "select", label: t("selection.start"), class: "sl-button sl-gallery-select", onclick: () => this.#select(() => (this.selection.active = true)) });
    this.newButton = button({ icon: "plus", label: "", kind: "primary", hidden: true, onclick: () => this.#insertNew() });
    this.note = h("div", { class: "sl-gallery-note" });
    const { filters } = this;
    this.tools = h("div", { class: "sl-gallery-tools" }, this.collections.button, filters.searchBox, filters.favourite, filters.toggle, this.selectButton, filters.bar);
    this.section = h("section", { class: "sl-gallery", "aria-label": t("gallery.title") },
      h("h2", { class: "sl-hidden" }, t("gallery.title")),
      h("div", { class: "sl-gallery-head" }, this.tools, this.bar.element),
      h("div", { class: "sl-gallery-line" }, this.countNote, this.dayNote, h("div", { class: "sl-gallery-view" }, filters.sort, this.#sizeButtons())),
      h("div", { class: "sl-gallery-place" }, this.grid.element, this.note,
        h("div", { class: "sl-gallery-fresh", role: "status" }, this.newButton)));
    setChildren(root, this.section);
    this.#setSize(Number(localStorage.getItem(SIZE_KEY) ?? sizeOf(cachedPreferences().tile_size)), { store: false });
    addEventListener("sl:preferences", (event) => localStorage.getItem(SIZE_KEY) ?? this.#setSize(sizeOf(/** @type {CustomEvent} */ (event).detail.tile_size), { store: false }));
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
      if (change.type === "gallery") void this.#onOtherChange(change);
    });
    new IntersectionObserver((entries) => this.#onVisibilityChange(!!entries.at(-1)?.isIntersecting)).observe(this.section);
    addEventListener("resize", () => this.#resize());
    const isActive = () => this.#visible && noDialogOpen();
    const hasTarget = () => isActive() && (this.selection.size > 0 || (this.grid.hasFocus && !!this.results.entries[this.grid.active]));
    registerShortcut("/", "gallery.search", () => this.filters.search.select(), { isActive });
    registerShortcut("Ctrl+a", "selection.all", () => this.#selectAll(), { isActive });
    for (const [name, , key] of BULK_ACTIONS) {
      if (key) registerShortcut(key, name === "compare" ? "selection.compare" : `selection.${name}`, () => this.#run(name), { isActive: name === "compare" ? () => isActive() && this.selection.size === 2 : hasTarget });
    }
    for (const [keys, says] of [["Space", "selection.toggle"], ["Shift+ArrowRight", "selection.extend"]]) registerShortcut(keys, says, () => {}, { isActive: () => false }); // the grid handles them
    registerShortcut("+", "gallery.larger", () => this.#setSize(this.grid.size + 1), { isActive });
    registerShortcut("-", "gallery.smaller", () => this.#setSize(this.grid.size - 1), { isActive });
    registerShortcut("Escape", "selection.clear", () => this.#endSelection(), { isActive: () => isActive() && this.selection.active });
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
    this.selection.clear();
    this.collections.show(this.filters.values.collection);
    const started = this.results.search(this.filters.query);
    this.grid.toTop();
    this.#render();
    await Promise.all([started, this.#loadFacets(), this.collections.refresh()]);
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
    if (!this.results.newestFirst) return this.#search();
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
    this.countNote.textContent = failed || (empty && !this.filters.active) ? "" : results.ready ? t(textKey, { n: total }) : t(textKey);
    this.#renderNewButton(results.newEntries.length);
    this.selectButton.disabled = results.ready && !results.total;
    this.#renderSelection();
  }

  #renderSelection() {
    const { selection } = this;
    this.bar.show(selection, !!this.filters.values.collection, this.context.actions.offers("reference"));
    this.tools.inert = selection.active;
    this.section.classList.toggle("sl-selecting", selection.active);
    if (selection.active) this.grid.element.setAttribute("aria-multiselectable", "true");
    else this.grid.element.removeAttribute("aria-multiselectable");
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

  /** Apply a change of a picture, made here or in another part of the page. @param {import("./viewer.js").EntryChange} change */
  #onEntryChange({ kind, id, ...fields }) {
    if (kind === "removed") {
      this.selection.forget(id);
      this.results.remove(id);
    } else if (kind === "restored") this.#restore(id);
    else this.results.update(id, fields);
  }

  /** Another window, or this one, has changed pictures. @param {{changed: string[], deleted: string[]}} change */
  #onOtherChange = withErrorToast(async (/** @type {{changed: string[], deleted: string[]}} */ { changed, deleted }) => {
    this.results.batch(() => deleted.forEach((id) => dispatchEntryChange({ kind: "removed", id })));
    if (this.#visible) void this.collections.refresh();
    if (document.hasFocus()) return; // this window has made the change, and shows it already
    for (const id of changed.slice(0, MAX_RELOADED)) {
      if (this.results.indexOf(id) < 0) continue;
      const { favourite, tags, collections } = await get(`/v1/gallery/${id}`);
      this.results.update(id, { favourite, tags, collections });
    }
  });

  /** @param {number} index */
  #openViewer(index) {
    const { results, grid } = this;
    openViewer(this.context, results.entries, index, {
      total: () => results.total - (results.exact ? 0 : 1),
      load: () => results.loadMore(),
      onchange: dispatchEntryChange,
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

  /** @param {string} id */
  #restore(id) {
    if (this.results.restore(id) || this.#searchAgain) return;
    this.#searchAgain = true; // once for all that are restored now
    queueMicrotask(() => {
      this.#searchAgain = false;
      void this.#search();
    });
  }

  /** Change the selection. @param {() => void} change */
  #select(change) {
    change();
    this.grid.refresh();
    this.#renderSelection();
  }

  #endSelection() {
    const focused = this.grid.hasFocus || this.bar.element.contains(document.activeElement);
    this.#select(() => this.selection.clear());
    if (focused) this.grid.focus(this.grid.active);
  }

  /** Select all results; their number has to be known. */
  #selectAll = withErrorToast(async () => {
    await this.#loadAll();
    const { results } = this;
    const total = results.total - (results.exact ? 0 : 1);
    if (!total) return;
    this.#select(() => this.selection.selectAll(results.entries, total));
    if (total > MAX_SELECTED) toast(t("selection.limit", { n: MAX_SELECTED }));
  });

  /** Do something with the selected pictures, or else with the focused one. @param {import("./gallery/selection_bar.js").BulkAction} action */
  #run = withErrorToast(async (/** @type {import("./gallery/selection_bar.js").BulkAction} */ action) => {
    const { results, selection, grid } = this;
    if (!selection.size && action === "favourite") return this.#favourite(grid.active);
    if (!selection.size) return this.bulk.run(action, [results.entries[grid.active]]);
    while (selection.ahead && !results.complete) {
      await results.loadMore();
      if (results.failure) return; // it has been reported
    }
    await this.bulk.run(action, results.entries.filter(({ id }) => selection.has(id)));
  });

  /** Buttons that change the size of the tiles. */
  #sizeButtons() {
    this.smaller = button({ icon: "minus", label: t("gallery.smaller"), iconOnly: true, onclick: () => this.#setSize(this.grid.size - 1) });
    this.larger = button({ icon: "plus", label: t("gallery.larger"), iconOnly: true, onclick: () => this.#setSize(this.grid.size + 1) });
    return h("div", { class: "sl-gallery-size", role: "group", "aria-label": t("gallery.size") }, this.smaller, icon("grid"), this.larger);
  }

  /** @param {number} size @param {{store?: boolean}} [options]  store: for the next visit in this browser */
  #setSize(size, { store = true } = {}) {
    const valid = Number.isInteger(size) ? Math.max(0, Math.min(size, SIZES - 1)) : DEFAULT_SIZE;
    this.grid.size = valid;
    if (store) localStorage.setItem(SIZE_KEY, String(valid));
    if (this.smaller) this.smaller.disabled = valid === 0;
    if (this.larger) this.larger.disabled = valid === SIZES - 1;
  }
}

/** Dispatch a change of a picture to the whole page, including this gallery. @param {import("./viewer.js").EntryChange} detail */
const dispatchEntryChange = (detail) => dispatchEvent(new CustomEvent("sl:entry", { detail }));
