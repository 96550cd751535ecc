// The viewer: pictures one by one over the whole window, with zoom, metadata and all actions.

import { ACTIONS, CHOICES } from "./actions/list.js";
import { ApiError, get, request } from "./core/api.js";
import { button, h, icon, setChildren } from "./core/dom.js";
import { fileUrl, thumbnailUrl } from "./core/picture.js";
import { closePicture, openPicture } from "./core/router.js";
import { registerShortcut } from "./core/shortcuts.js";
import { formatPercent, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { mark } from "./gallery/bulk.js";
import { TagEditor } from "./gallery/tag_editor.js";
import { openCompare } from "./viewer/compare.js";
import { makeElements } from "./viewer/elements.js";
import { lineageList, loadLineage } from "./viewer/lineage.js";
import { closeOverlays, Overlay } from "./viewer/overlay.js";
import { showPanel } from "./viewer/panel.js";
import { Zoom } from "./viewer/zoom.js";

/**
 * @typedef {import("./types").GalleryEntry} GalleryEntry
 * @typedef {import("./types").PageContext} PageContext
 * @typedef {{id: string, prompt?: string} & Partial<GalleryEntry>} Item  an entry, possibly incomplete
 * @typedef {{kind: "favourite", id: string, favourite: boolean} | {kind: "marks", id: string, tags: string[], collections: string[]}
 *   | {kind: "removed" | "restored", id: string}} EntryChange
 * @typedef {{
 *   onchange?: (change: EntryChange) => void,
 *   onclose?: (id: string | null) => HTMLElement | null | void,
 *   load?: () => Promise<Item[]>,
 *   total?: () => number,
 * }} Options  onchange: called after a change to a picture; onclose: gets the last picture's id, may return the element to focus;
 *   load: resolves to further pictures, none at the end; total: number of pictures including those not loaded
 */

const LOAD_AHEAD = 5; // distance from the last picture at which more are loaded
const RECORD_DELAY = 150; // milliseconds a picture is shown before its full record is loaded
const PAN_STEP = 80; // pixels per arrow key
const MISSING_STATUSES = [404, 410]; // statuses of a missing file
const PANEL_KEY = "safelight.viewer.folded"; // whether the panel is hidden
const NARROW = matchMedia("(max-width: 760px)");

/** @type {Viewer | null} */
let current = null;
/** What the last viewer showed, so that Forward opens it again. @type {{items: Item[], options: Options} | null} */
let last = null;
let listening = false;

/**
 * Show pictures over the whole window.
 * @param {PageContext} context
 * @param {Item[]} items
 * @param {number} index  of the first picture to show
 * @param {Options} [options]
 */
export function openViewer(context, items, index, options = {}) {
  if (!items[index]) return;
  registerViewerShortcuts();
  current?.close();
  current = new Viewer(context, items, index, options);
  last = { items: current.items, options };
}

/**
 * Show what the address says: a picture, or none.
 * @param {PageContext} context
 * @param {string | null} id  of a gallery entry
 */
export async function showLinkedPicture(context, id) {
  if (id === null) return current ? closeOverlays() : undefined;
  if (current?.show(id)) return;
  const index = last?.items.findIndex((item) => item.id === id) ?? -1;
  if (last && index >= 0) return openViewer(context, last.items, index, last.options);
  try {
    openViewer(context, [await get(`/v1/gallery/${encodeURIComponent(id)}`)], 0, {
      onchange: (change) => dispatchEvent(new CustomEvent("sl:entry", { detail: change })),
    });
  } catch (error) {
    closePicture();
    if (error instanceof ApiError && MISSING_STATUSES.concat(422).includes(error.status)) toast(t("route.no_picture"), { kind: "error" });
    else showError(error);
  }
}

class Viewer {
  /** Full records that have been loaded, by id. @type {Map<string, GalleryEntry>} */
  #records = new Map();
  /** Lineages that have been loaded, by id. @type {Map<string, import("./viewer/lineage.js").Lineage>} */
  #lineages = new Map();
  /** Ids of pictures for review that the user has chosen to see. @type {Set<string>} */
  #revealed = new Set();
  /** @type {string | null} */
  #previousId = null; // the previously shown picture
  /** @type {string | null} */
  #currentId = null;
  #loadFailed = false; // whether the image failed to load although its file may exist
  #exhausted = false;
  #loading = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #recordTimer;
  /** @type {HTMLImageElement[]} */
  preloaded = []; // neighbours, referenced so that the browser caches them

  /** @param {PageContext} context @param {Item[]} items @param {number} index @param {Options} options */
  constructor(context, items, index, options) {
    this.context = context;
    this.items = [...items];
    this.index = index;
    this.options = options;
    this.overlay = new Overlay("sl-viewer", t("viewer.title"), {
      onclose: () => this.#onClose(),
      focus: () => options.onclose?.(this.items[this.index]?.id ?? null) ?? null,
    });
    this.elements = makeElements({
      favourite: () => this.favourite(),
      remove: () => this.remove(),
      compare: () => this.compare(),
      togglePanel: () => this.togglePanel(),
      close: () => this.close(),
      fit: () => this.zoom.fit(true),
      step: (direction) => this.zoom.step(direction),
      navigate: (by) => this.navigate(by),
      runAction: (name) => this.runAction(name),
      choose: (name, place) => this.choose(name, place),
    });
    this.tags = new TagEditor({ onadd: (tags) => this.#changeTags({ add_tags: tags }), onremove: (tag) => this.#changeTags({ remove_tags: [tag] }) });
    const { stage, picture, image, panel } = this.elements;
    panel.append(h("section", {}, h("h3", {}, t("viewer.tags")), this.tags.element));
    image.addEventListener("load", () => this.#onImageLoad());
    image.addEventListener("error", () => image.getAttribute("src") && void this.#onImageError());
    this.overlay.box.append(...this.elements.all);
    this.zoom = new Zoom(stage, picture, {
      onswipe: (by) => this.navigate(by),
      onchange: (scale) => setChildren(this.elements.zoomLevel, h("span", {}, formatPercent(scale))),
    });
    this.#setPanelOpen(!NARROW.matches && localStorage.getItem(PANEL_KEY) !== "yes");
    this.overlay.open();
    this.#showCurrent();
  }

  get isTop() {
    return this.overlay.isTop;
  }
  get #item() {
    return this.items[this.index];
  }
  /** The current picture's record as far as it is known. @returns {GalleryEntry} */
  get entry() {
    return this.#records.get(this.#item.id) ?? withDefaults(this.#item);
  }
  get #hasFile() {
    const { decision, missing } = this.entry;
    return decision !== "block" && !missing;
  }

  close() {
    this.overlay.close();
  }

  /** Show another of its pictures; false: it has no such picture. @param {string} id */
  show(id) {
    const index = this.items.findIndex((item) => item.id === id);
    if (index >= 0 && index !== this.index) {
      this.index = index;
      this.#showCurrent();
    }
    return index >= 0;
  }

  #onClose() {
    clearTimeout(this.#recordTimer);
    this.zoom.destroy();
    if (current !== this) return;
    current = null;
    closePicture();
  }

  /** @param {1 | -1} by */
  navigate(by) {
    if (!this.items[this.index + by]) return this.zoom.fit(true);
    this.index += by;
    this.#showCurrent();
  }

  /** An arrow key: pan if the picture is larger than the stage, else show a neighbour. @param {number} x @param {number} y */
  onArrow(x, y) {
    if (this.zoom.overflows && !this.zoom.fitted) this.zoom.pan(-x * PAN_STEP, -y * PAN_STEP);
    else if (x) this.navigate(x > 0 ? 1 : -1);
  }

  /** Show the picture at the current index. */
  #showCurrent() {
    const { id } = this.#item;
    if (this.#currentId !== id) this.#previousId = this.#currentId;
    this.#currentId = id;
    openPicture(id);
    this.#loadFailed = false;
    this.elements.image.removeAttribute("src");
    this.elements.image.classList.remove("sl-loaded");
    this.preloaded = [];
    this.zoom.show(this.entry);
    this.#render();
    this.#loadMore();
    clearTimeout(this.#recordTimer);
    if (this.#records.has(id)) return;
    const hasRecord = "sha256" in this.#item;
    this.#recordTimer = setTimeout(withErrorToast(() => this.#fetchRecord(id)), hasRecord ? RECORD_DELAY : 0);
  }

  /** Render everything about the picture. */
  #render() {
    const { entry } = this;
    const all = Math.max(this.items.length, this.options.total?.() ?? 0);
    this.elements.count.textContent = t("viewer.count", { at: this.index + 1, of: all });
    this.elements.favourite.setAttribute("aria-pressed", String(entry.favourite));
    this.elements.previous.disabled = this.index === 0;
    this.elements.next.disabled = this.index === this.items.length - 1;
    this.elements.compare.disabled = !this.#comparisonCandidate();
    const compareLabel = t(this.#sourceId ? "viewer.compare.source" : "viewer.compare");
    for (const name of ["title", "aria-label"]) this.elements.compare.setAttribute(name, compareLabel);
    for (const { name, needsFile } of ACTIONS) /** @type {HTMLButtonElement} */ (this.elements.actions.get(name)).hidden = (needsFile && !this.#hasFile) || !this.context.actions.offers(name);
    for (const each of [this.elements.compare, this.elements.link, this.elements.zoomButtons, ...this.elements.choosers.values()]) each.hidden = !this.#hasFile;
    this.#renderLineage();
    this.#renderDownload(entry);
    showPanel(this.elements.promptSection, this.elements.detailsSection, entry);
    this.tags.show(entry.tags);
    this.#renderPicture(entry);
    this.overlay.keepFocus();
  }

  /** @param {GalleryEntry} entry */
  #renderDownload({ id, kind }) {
    if (!this.#hasFile) return this.elements.link.removeAttribute("href");
    this.elements.link.href = fileUrl(id);
    this.elements.link.download = `${id}.${kind === "jpeg" ? "jpg" : (kind ?? "png")}`;
  }

  /** Show the image, or why it is hidden. @param {GalleryEntry} entry */
  #renderPicture(entry) {
    const { id, decision, missing, unsafe } = entry;
    const blurred = decision === "review" && !this.#revealed.has(id);
    this.elements.stage.classList.toggle("sl-withheld-stage", !this.#hasFile);
    this.elements.picture.classList.toggle("sl-viewer-blurred", blurred);
    this.elements.picture.hidden = !this.#hasFile;
    this.elements.image.alt = blurred ? t("picture.review") : entry.prompt || t("picture.unnamed");
    setChildren(this.elements.notice);
    if (!this.#hasFile) {
      const textKey = missing ? "viewer.missing" : "viewer.blocked";
      setChildren(this.elements.notice, icon(missing ? "warning" : "shield"), h("p", {}, t(textKey)),
        !missing && unsafe !== null && h("p", { class: "sl-hint" }, t("viewer.blocked.why", { score: formatPercent(unsafe, 1), policy: entry.policy ?? "" })));
      this.elements.thumbnail.removeAttribute("src");
      return;
    }
    setSource(this.elements.thumbnail, thumbnailUrl(id, blurred ? 16 : 256));
    if (blurred) setChildren(this.elements.notice, button({ icon: "eye", label: t("viewer.reveal"), onclick: () => this.reveal() }));
    else if (!this.#loadFailed) setSource(this.elements.image, fileUrl(id));
    else setChildren(this.elements.notice, icon("warning"), h("p", {}, t("picture.broken")), button({ label: t("gallery.again"), onclick: () => this.#retryImage() }));
  }

  /** Reveal a picture for review. */
  reveal() {
    this.#revealed.add(this.#item.id);
    this.#render();
  }

  #onImageLoad() {
    this.elements.image.classList.add("sl-loaded");
    const neighbours = [this.items[this.index + 1], this.items[this.index - 1]];
    this.preloaded = neighbours
      .filter((item) => item?.decision === "allow" && !item.missing)
      .map(({ id }) => Object.assign(new Image(), { src: fileUrl(id) }));
  }

  /** The image failed to load: find out whether the file is missing or the request failed. */
  async #onImageError() {
    const { id } = this.#item;
    const error = await request("GET", fileUrl(id)).then(() => null, (reason) => reason);
    if (this.#currentId !== id || current !== this) return;
    const missing = error instanceof ApiError && MISSING_STATUSES.includes(error.status);
    if (missing) this.#records.set(id, { ...this.entry, missing });
    this.#loadFailed = !missing;
    this.#render();
  }

  /** Load the image again. */
  #retryImage() {
    this.#loadFailed = false;
    this.elements.image.removeAttribute("src");
    this.#render();
  }

  /** Load the full record. @param {string} id */
  async #fetchRecord(id) {
    const entry = await get(`/v1/gallery/${id}`);
    const sizeUnknown = !("width" in (this.items.find((item) => item.id === id) ?? {}));
    const gone = this.#records.get(id)?.missing; // an image that failed to load while this request was under way
    this.#records.set(id, gone ? { ...entry, missing: true } : entry);
    if (this.#currentId !== id || current !== this) return;
    if (sizeUnknown) this.zoom.show(entry);
    this.#render();
    this.#lineages.set(id, await loadLineage(entry));
    if (this.#currentId === id && current === this) this.#render();
  }

  /** Show what the picture was made from, and what was made from it. */
  #renderLineage() {
    const lineage = this.#lineages.get(this.#item.id);
    const list = lineage && lineageList(this.entry, lineage, (entry) => this.#open(entry));
    this.elements.lineageSection.hidden = !list;
    if (this.elements.lineageSection.dataset.of === this.#item.id && list) return; // so that a focused picture keeps the focus
    this.elements.lineageSection.dataset.of = list ? this.#item.id : "";
    setChildren(this.elements.lineageSection, h("h3", {}, t("lineage.title")), list);
  }

  /** Show a picture that need not be among the viewer's. @param {GalleryEntry} entry */
  #open(entry) {
    const at = this.items.findIndex(({ id }) => id === entry.id);
    if (at < 0) this.items.splice(this.index + 1, 0, entry);
    this.index = at < 0 ? this.index + 1 : at;
    this.#showCurrent();
  }

  /** Load further pictures near the end. */
  async #loadMore() {
    if (!this.options.load || this.#exhausted || this.#loading || this.index < this.items.length - LOAD_AHEAD) return;
    this.#loading = true;
    try {
      const items = await this.options.load();
      this.#exhausted = !items.length;
      this.items.push(...items);
      this.elements.next.disabled = this.index === this.items.length - 1;
    } catch (error) {
      showError(error);
    } finally {
      this.#loading = false;
    }
  }

  /** @param {import("./actions/list.js").ActionName} name */
  async runAction(name) {
    const actionButton = /** @type {HTMLButtonElement} */ (this.elements.actions.get(name));
    if (actionButton.disabled || !this.context.actions.offers(name)) return;
    actionButton.disabled = true;
    try {
      await this.context.actions[name](this.#item.id);
      if (ACTIONS.some((action) => action.name === name && action.leaves)) this.close();
    } catch (error) {
      showError(error);
    } finally {
      actionButton.disabled = false;
      if (current === this) this.#render();
    }
  }

  /** Ask how to do an action; place: the pressed button. */
  choose = withErrorToast(async (/** @type {import("./actions/list.js").ChoiceName} */ name, /** @type {HTMLElement | null} */ place = null) => {
    const chooser = this.elements.choosers.get(name);
    if (!this.#hasFile) return;
    await this.context.actions.choose(name, this.#item.id, place ?? (chooser?.checkVisibility() ? chooser : this.elements.count), () => this.close());
  });

  async favourite() {
    const { id, favourite } = this.entry;
    this.#setFavourite(id, !favourite);
    try {
      await this.context.actions.favourite(id, !favourite);
    } catch (error) {
      this.#setFavourite(id, favourite);
      showError(error);
    }
  }

  /** @param {string} id @param {boolean} favourite */
  #setFavourite(id, favourite) {
    const record = this.#records.get(id);
    if (record) this.#records.set(id, { ...record, favourite });
    this.items = this.items.map((item) => (item.id === id ? { ...item, favourite } : item));
    this.options.onchange?.({ kind: "favourite", id, favourite });
    if (this.#currentId === id) this.elements.favourite.setAttribute("aria-pressed", String(favourite));
  }

  /** Add or remove tags. @param {{add_tags?: string[], remove_tags?: string[]}} change */
  #changeTags = withErrorToast(async (/** @type {{add_tags?: string[], remove_tags?: string[]}} */ change) => {
    const { id } = this.#item;
    const [{ tags, collections }] = await mark([id], change);
    const record = this.#records.get(id);
    if (record) this.#records.set(id, { ...record, tags });
    this.items = this.items.map((item) => (item.id === id ? { ...item, tags } : item));
    this.options.onchange?.({ kind: "marks", id, tags, collections });
    if (current === this && this.#currentId === id) this.tags.show(tags);
  });

  remove() {
    const item = this.#item, at = this.index;
    this.context.actions.remove(item.id, {
      hide: () => {
        this.items.splice(at, 1);
        this.options.onchange?.({ kind: "removed", id: item.id });
        if (!this.items.length) return this.close();
        this.index = Math.min(at, this.items.length - 1);
        this.#showCurrent();
      },
      restore: () => {
        this.options.onchange?.({ kind: "restored", id: item.id });
        if (current !== this) return;
        this.index = Math.min(at, this.items.length);
        this.items.splice(this.index, 0, item);
        this.#showCurrent();
      },
    });
  }

  /** The id of the picture that this one was made from, if it can be shown. */
  get #sourceId() {
    const source = this.#lineages.get(this.#item.id)?.source;
    if (source === undefined) return this.entry.parent_id;
    return source && source.decision !== "block" && !source.missing ? source.id : null;
  }

  /** The picture to compare with: the one that it was made from, else the one shown before, or a neighbour. @returns {{id: string} | undefined} */
  #comparisonCandidate() {
    if (this.#sourceId) return { id: this.#sourceId };
    const comparable = (/** @type {Item | undefined} */ item) => item && item.decision !== "block" && !item.missing;
    return [this.items.find(({ id }) => id === this.#previousId), this.items[this.index + 1], this.items[this.index - 1]].find(comparable);
  }

  compare() {
    const other = this.#comparisonCandidate();
    if (other && this.#hasFile) openCompare(other.id, this.#item.id, { among: this.items, revealed: this.#revealed });
  }

  togglePanel() {
    const hidden = !this.overlay.box.classList.contains("sl-folded");
    if (!NARROW.matches) localStorage.setItem(PANEL_KEY, hidden ? "yes" : "no");
    this.#setPanelOpen(!hidden);
  }

  /** @param {boolean} open */
  #setPanelOpen(open) {
    this.overlay.box.classList.toggle("sl-folded", !open);
    this.elements.panelToggle.setAttribute("aria-expanded", String(open));
    this.elements.panel.toggleAttribute("inert", !open);
  }
}

/** A complete record with defaults for what is unknown. @param {Item} item @returns {GalleryEntry} */
function withDefaults(item) {
  return /** @type {GalleryEntry} */ ({
    width: 1, height: 1, decision: "allow", unsafe: null, scores: {}, policy: null, prompt: "", negative_prompt: "", seed: null,
    steps: null, sampler: null, checkpoint: null, created: new Date().toISOString(), kind: null, size: 0, missing: false,
    favourite: false, tags: [], parent_id: null, relation: null, ...item,
  });
}

/** @param {HTMLImageElement} image @param {string} src */
function setSource(image, src) {
  if (image.getAttribute("src") !== src) image.src = src;
}

/** Register the viewer's shortcuts; they apply while a viewer is the topmost dialog. */
export function registerViewerShortcuts() {
  if (listening) return;
  listening = true;
  const on = (/** @type {string} */ keys, /** @type {string} */ says, /** @type {(viewer: Viewer) => void} */ run) =>
    registerShortcut(keys, says, () => current && run(current), { isActive: () => !!current?.isTop });
  on("ArrowLeft", "viewer.previous", (viewer) => viewer.onArrow(-1, 0));
  on("ArrowRight", "viewer.next", (viewer) => viewer.onArrow(1, 0));
  on("ArrowUp", "viewer.pan", (viewer) => viewer.onArrow(0, -1));
  on("ArrowDown", "viewer.pan", (viewer) => viewer.onArrow(0, 1));
  on("+", "viewer.zoom_in", (viewer) => viewer.zoom.step(1));
  on("-", "viewer.zoom_out", (viewer) => viewer.zoom.step(-1));
  on("0", "viewer.fit", (viewer) => viewer.zoom.fit(true));
  on("i", "viewer.details", (viewer) => viewer.togglePanel());
  for (const { name, keys } of ACTIONS) on(keys, `viewer.${name}`, (viewer) => viewer.runAction(name));
  for (const [name, keys] of Object.entries(CHOICES)) on(keys, `${name}.choose`, (viewer) => viewer.choose(/** @type {import("./actions/list.js").ChoiceName} */ (name)));
  on("d", "viewer.download", (viewer) => viewer.elements.link.href && viewer.elements.link.click());
  on("f", "viewer.favourite", (viewer) => viewer.favourite());
  on("Delete", "viewer.delete", (viewer) => viewer.remove());
  on("b", "viewer.compare.source", (viewer) => viewer.compare());
  on("Escape", "close", (viewer) => viewer.close());
}
