// Pictures one by one over the whole window: looked at closely, their parameters beside them, with all that can be done.

import { ApiError, get, request } from "./core/api.js";
import { button, setChildren, h, icon } from "./core/dom.js";
import { registerShortcut } from "./core/shortcuts.js";
import { fileUrl, thumbnailUrl } from "./core/picture.js";
import { formatPercent, t } from "./core/text.js";
import { showError, withErrorToast } from "./core/toast.js";
import { openCompare } from "./viewer/compare.js";
import { ACTIONS, makeElements } from "./viewer/elements.js";
import { Overlay } from "./viewer/overlay.js";
import { showPanel } from "./viewer/panel.js";
import { Zoom } from "./viewer/zoom.js";

/**
 * @typedef {import("./types").GalleryEntry} Entry
 * @typedef {import("./types").PageContext} PageContext
 * @typedef {{id: string, prompt?: string} & Partial<Entry>} Item  an entry, or the beginning of one
 * @typedef {{kind: "favourite", id: string, favourite: boolean} | {kind: "removed" | "restored", id: string}} EntryChange
 * @typedef {{
 *   onchange?: (change: EntryChange) => void,
 *   onclose?: (id: string | null) => HTMLElement | null | void,
 *   load?: () => Promise<Item[]>,
 *   total?: () => number,
 * }} Options  onchange: what was done to a picture; onclose: is told the last picture, may say where the focus goes; load:
 *   gives further pictures when the last is near, none at the end; total: how many there are with those
 */

const LOAD_AHEAD = 5; // pictures before the end at which more are loaded
const RECORD_DELAY = 150; // milliseconds a picture is shown before the rest of its record is asked for
const PAN_STEP = 80; // pixels an arrow key moves
const MISSING_STATUSES = [404, 410]; // statuses of a file that is not there
const PANEL_KEY = "safelight.viewer.folded"; // whether the panel is put away
const NARROW = matchMedia("(max-width: 760px)");

/** @type {Viewer | null} */
let current = null;
let listening = false;

/**
 * Show pictures over the whole window.
 * @param {PageContext} context
 * @param {Item[]} items
 * @param {number} index  which to begin with
 * @param {Options} [options]
 */
export function openViewer(context, items, index, options = {}) {
  if (!items[index]) return;
  registerViewerShortcuts();
  current?.close();
  current = new Viewer(context, items, index, options);
}

class Viewer {
  /** The whole records, as far as they were asked for. @type {Map<string, Entry>} */
  #records = new Map();
  /** Pictures for review that the user wanted to see. @type {Set<string>} */
  #revealed = new Set();
  /** @type {string | null} */
  #previousId = null; // the picture that was shown before
  /** @type {string | null} */
  #currentId = null;
  #loadFailed = false; // the file did not come, and nobody knows it gone
  #exhausted = false;
  #loading = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #recordTimer;
  /** @type {HTMLImageElement[]} */
  preloaded = []; // neighbours, so that the browser keeps them

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
    });
    const { stage, picture, image } = this.elements;
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
  /** What is known of the picture now. @returns {Entry} */
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

  #onClose() {
    clearTimeout(this.#recordTimer);
    this.zoom.destroy();
    if (current === this) current = null;
  }

  /** @param {1 | -1} by */
  navigate(by) {
    if (!this.items[this.index + by]) return this.zoom.fit(true);
    this.index += by;
    this.#showCurrent();
  }

  /** An arrow: the picture moves where parts of it are out of sight. @param {number} x @param {number} y */
  onArrow(x, y) {
    if (this.zoom.overflows && !this.zoom.fitted) this.zoom.pan(-x * PAN_STEP, -y * PAN_STEP);
    else if (x) this.navigate(x > 0 ? 1 : -1);
  }

  /** Bring the picture of the index into the stage. */
  #showCurrent() {
    const { id } = this.#item;
    if (this.#currentId !== id) this.#previousId = this.#currentId;
    this.#currentId = id;
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

  /** Everything that says something of the picture. */
  #render() {
    const { entry } = this;
    const all = Math.max(this.items.length, this.options.total?.() ?? 0);
    this.elements.count.textContent = t("viewer.count", { at: this.index + 1, of: all });
    this.elements.favourite.setAttribute("aria-pressed", String(entry.favourite));
    this.elements.previous.disabled = this.index === 0;
    this.elements.next.disabled = this.index === this.items.length - 1;
    this.elements.compare.disabled = !this.#hasFile || !this.#comparisonCandidate();
    for (const deed of this.elements.actionButtons.children) {
      const needsFile = deed !== this.elements.actionButtons.lastElementChild;
      if (deed instanceof HTMLButtonElement) deed.disabled = needsFile && !this.#hasFile;
    }
    this.#renderDownload(entry);
    showPanel(this.elements.promptSection, this.elements.detailsSection, entry);
    this.#renderPicture(entry);
    this.overlay.keepFocus();
  }

  /** @param {Entry} entry */
  #renderDownload({ id, kind }) {
    if (this.#hasFile) {
      this.elements.link.href = fileUrl(id);
      this.elements.link.download = `${id}.${kind === "jpeg" ? "jpg" : (kind ?? "png")}`;
      for (const name of ["aria-disabled", "role"]) this.elements.link.removeAttribute(name);
    } else {
      this.elements.link.removeAttribute("href");
      this.elements.link.setAttribute("role", "link"); // without a target it would be nothing that can have a name
      this.elements.link.setAttribute("aria-disabled", "true");
    }
  }

  /** The pixels, or why they are not shown. @param {Entry} entry */
  #renderPicture(entry) {
    const { id, decision, missing, unsafe } = entry;
    const blurred = decision === "review" && !this.#revealed.has(id);
    this.elements.stage.classList.toggle("sl-withheld-stage", !this.#hasFile);
    this.elements.picture.classList.toggle("sl-viewer-veiled", blurred);
    this.elements.picture.hidden = !this.#hasFile;
    this.elements.image.alt = blurred ? t("picture.review") : entry.prompt || t("picture.unnamed");
    setChildren(this.elements.notice);
    if (!this.#hasFile) {
      const says = missing ? "viewer.missing" : "viewer.blocked";
      setChildren(this.elements.notice, icon(missing ? "warning" : "shield"), h("p", {}, t(says)),
        !missing && unsafe !== null && h("p", { class: "sl-hint" }, t("viewer.blocked.why", { score: formatPercent(unsafe, 1), policy: entry.policy ?? "" })));
      this.elements.thumbnail.removeAttribute("src");
      return;
    }
    setSource(this.elements.thumbnail, thumbnailUrl(id, blurred ? 16 : 256));
    if (blurred) setChildren(this.elements.notice, button({ icon: "eye", label: t("viewer.reveal"), onclick: () => this.reveal() }));
    else if (!this.#loadFailed) setSource(this.elements.image, fileUrl(id));
    else setChildren(this.elements.notice, icon("warning"), h("p", {}, t("picture.broken")), button({ label: t("gallery.again"), onclick: () => this.#retryImage() }));
  }

  /** Show a picture for review. */
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

  /** The file did not come: ask whether it is gone or only could not be had now. */
  async #onImageError() {
    const { id } = this.#item;
    const error = await request("GET", fileUrl(id)).then(() => null, (reason) => reason);
    if (this.#currentId !== id || current !== this) return;
    const missing = error instanceof ApiError && MISSING_STATUSES.includes(error.status);
    if (missing) this.#records.set(id, { ...this.entry, missing });
    this.#loadFailed = !missing;
    this.#render();
  }

  /** Ask once more for a file that did not come. */
  #retryImage() {
    this.#loadFailed = false;
    this.elements.image.removeAttribute("src");
    this.#render();
  }

  /** Ask for the whole record. @param {string} id */
  async #fetchRecord(id) {
    const entry = await get(`/v1/gallery/${id}`);
    const sizeUnknown = !("width" in (this.items.find((item) => item.id === id) ?? {}));
    this.#records.set(id, entry);
    if (this.#currentId !== id || current !== this) return;
    if (sizeUnknown) this.zoom.show(entry);
    this.#render();
  }

  /** Load further pictures when the end is near. */
  async #loadMore() {
    if (!this.options.load || this.#exhausted || this.#loading || this.index < this.items.length - LOAD_AHEAD) return;
    this.#loading = true;
    try {
      const more = await this.options.load();
      this.#exhausted = !more.length;
      this.items.push(...more);
      this.elements.next.disabled = this.index === this.items.length - 1;
    } catch (error) {
      showError(error);
    } finally {
      this.#loading = false;
    }
  }

  /** @param {import("./viewer/elements.js").ActionName} name */
  async runAction(name) {
    const index = ACTIONS.findIndex(([each]) => each === name);
    const actionButton = /** @type {HTMLButtonElement} */ (this.elements.actionButtons.children[index]);
    if (actionButton.disabled) return;
    actionButton.disabled = true;
    try {
      await this.context.actions[name](this.#item.id);
      if (ACTIONS[index][3]) this.close();
    } catch (error) {
      showError(error);
    } finally {
      actionButton.disabled = false;
      if (current === this) this.#render();
    }
  }

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
    const whole = this.#records.get(id);
    if (whole) this.#records.set(id, { ...whole, favourite });
    this.items = this.items.map((item) => (item.id === id ? { ...item, favourite } : item));
    this.options.onchange?.({ kind: "favourite", id, favourite });
    if (this.#currentId === id) this.elements.favourite.setAttribute("aria-pressed", String(favourite));
  }

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

  /** The picture to compare with: the one looked at before, or else a neighbour. */
  #comparisonCandidate() {
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

/** A picture of which little is known, as an entry. @param {Item} item @returns {Entry} */
function withDefaults(item) {
  return /** @type {Entry} */ ({
    width: 1, height: 1, decision: "allow", unsafe: null, scores: {}, policy: null, prompt: "", negative_prompt: "", seed: null,
    steps: null, sampler: null, checkpoint: null, created: new Date().toISOString(), kind: null, size: 0, missing: false,
    favourite: false, tags: [], ...item,
  });
}

/** @param {HTMLImageElement} image @param {string} src */
function setSource(image, src) {
  if (image.getAttribute("src") !== src) image.src = src;
}

/** Make its keys known to the page's help; they act while a viewer is the uppermost thing. */
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
  for (const [name, , key] of ACTIONS) on(key, `viewer.${name}`, (viewer) => viewer.runAction(name));
  on("d", "viewer.download", (viewer) => viewer.elements.link.href && viewer.elements.link.click());
  on("f", "viewer.favourite", (viewer) => viewer.favourite());
  on("Delete", "viewer.delete", (viewer) => viewer.remove());
  on("b", "viewer.compare", (viewer) => viewer.compare());
  on("Escape", "close", (viewer) => viewer.close());
}
