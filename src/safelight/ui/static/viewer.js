// Pictures one by one over the whole window: looked at closely, their parameters beside them, with all that can be done.

import { ApiError, get, request } from "./core/api.js";
import { button, fill, h, icon } from "./core/dom.js";
import { shortcut } from "./core/keys.js";
import { fileOf, thumbnailOf } from "./core/picture.js";
import { percent, t } from "./core/text.js";
import { complain, watched } from "./core/toast.js";
import { openCompare } from "./viewer/compare.js";
import { DEEDS, makeFrame } from "./viewer/frame.js";
import { Overlay } from "./viewer/overlay.js";
import { showPanel } from "./viewer/panel.js";
import { Zoom } from "./viewer/zoom.js";

/**
 * @typedef {import("./types").Entry} Entry
 * @typedef {import("./types").Studio} Studio
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

const NEAR = 5; // pictures before the end at which more are loaded
const CALM = 150; // milliseconds a picture is shown before the rest of its record is asked for
const PAN = 80; // pixels an arrow key moves
const GONE = [404, 410]; // statuses of a file that is not there
const FOLDED = "safelight.viewer.folded"; // whether the panel is put away
const NARROW = matchMedia("(max-width: 760px)");

/** @type {Viewer | null} */
let current = null;
let listening = false;

/**
 * Show pictures over the whole window.
 * @param {Studio} studio
 * @param {Item[]} items
 * @param {number} index  which to begin with
 * @param {Options} [options]
 */
export function openViewer(studio, items, index, options = {}) {
  if (!items[index]) return;
  listenForViewer();
  current?.close();
  current = new Viewer(studio, items, index, options);
}

class Viewer {
  /** The whole records, as far as they were asked for. @type {Map<string, Entry>} */
  #whole = new Map();
  /** Pictures for review that the user wanted to see. @type {Set<string>} */
  #revealed = new Set();
  /** @type {string | null} */
  #before = null; // the picture that was shown before
  /** @type {string | null} */
  #shown = null;
  #broken = false; // the file did not come, and nobody knows it gone
  #exhausted = false;
  #loading = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #calm;
  /** @type {HTMLImageElement[]} */
  ahead = []; // neighbours, so that the browser keeps them

  /** @param {Studio} studio @param {Item[]} items @param {number} index @param {Options} options */
  constructor(studio, items, index, options) {
    this.studio = studio;
    this.items = [...items];
    this.index = index;
    this.options = options;
    this.overlay = new Overlay("sl-viewer", t("viewer.title"), {
      onclose: () => this.#end(),
      focus: () => options.onclose?.(this.items[this.index]?.id ?? null) ?? null,
    });
    this.frame = makeFrame({
      favourite: () => this.favourite(),
      remove: () => this.remove(),
      compare: () => this.compare(),
      toggle: () => this.toggle(),
      close: () => this.close(),
      fit: () => this.zoom.fit(true),
      step: (direction) => this.zoom.step(direction),
      go: (by) => this.go(by),
      do: (name) => this.do(name),
    });
    const { stage, picture, image } = this.frame;
    image.addEventListener("load", () => this.#loaded());
    image.addEventListener("error", () => image.getAttribute("src") && void this.#failed());
    this.overlay.box.append(...this.frame.all);
    this.zoom = new Zoom(stage, picture, {
      onswipe: (by) => this.go(by),
      onchange: (scale) => fill(this.frame.percent, h("span", {}, percent(scale))),
    });
    this.#unfold(!NARROW.matches && localStorage.getItem(FOLDED) !== "yes");
    this.overlay.open();
    this.#show();
  }

  get isTop() {
    return this.overlay.isTop;
  }
  get #item() {
    return this.items[this.index];
  }
  /** What is known of the picture now. @returns {Entry} */
  get entry() {
    return this.#whole.get(this.#item.id) ?? withBlanks(this.#item);
  }
  get #there() {
    const { decision, missing } = this.entry;
    return decision !== "block" && !missing;
  }

  close() {
    this.overlay.close();
  }

  #end() {
    clearTimeout(this.#calm);
    this.zoom.end();
    if (current === this) current = null;
  }

  /** @param {1 | -1} by */
  go(by) {
    if (!this.items[this.index + by]) return this.zoom.fit(true);
    this.index += by;
    this.#show();
  }

  /** An arrow: the picture moves where parts of it are out of sight. @param {number} x @param {number} y */
  arrow(x, y) {
    if (this.zoom.hides && !this.zoom.fitted) this.zoom.pan(-x * PAN, -y * PAN);
    else if (x) this.go(x > 0 ? 1 : -1);
  }

  /** Bring the picture of the index into the stage. */
  #show() {
    const { id } = this.#item;
    if (this.#shown !== id) this.#before = this.#shown;
    this.#shown = id;
    this.#broken = false;
    this.frame.image.removeAttribute("src");
    this.frame.image.classList.remove("sl-loaded");
    this.ahead = [];
    this.zoom.show(this.entry);
    this.#describe();
    this.#more();
    clearTimeout(this.#calm);
    if (this.#whole.has(id)) return;
    const known = "sha256" in this.#item;
    this.#calm = setTimeout(watched(() => this.#complete(id)), known ? CALM : 0);
  }

  /** Everything that says something of the picture. */
  #describe() {
    const { entry } = this;
    const all = Math.max(this.items.length, this.options.total?.() ?? 0);
    this.frame.count.textContent = t("viewer.count", { at: this.index + 1, of: all });
    this.frame.heart.setAttribute("aria-pressed", String(entry.favourite));
    this.frame.previous.disabled = this.index === 0;
    this.frame.next.disabled = this.index === this.items.length - 1;
    this.frame.compare.disabled = !this.#there || !this.#other();
    for (const deed of this.frame.deeds.children) {
      const needsFile = deed !== this.frame.deeds.lastElementChild;
      if (deed instanceof HTMLButtonElement) deed.disabled = needsFile && !this.#there;
    }
    this.#offerFile(entry);
    showPanel(this.frame.words, this.frame.rest, entry);
    this.#picture(entry);
    this.overlay.keepFocus();
  }

  /** @param {Entry} entry */
  #offerFile({ id, kind }) {
    if (this.#there) {
      this.frame.link.href = fileOf(id);
      this.frame.link.download = `${id}.${kind === "jpeg" ? "jpg" : (kind ?? "png")}`;
      for (const name of ["aria-disabled", "role"]) this.frame.link.removeAttribute(name);
    } else {
      this.frame.link.removeAttribute("href");
      this.frame.link.setAttribute("role", "link"); // without a target it would be nothing that can have a name
      this.frame.link.setAttribute("aria-disabled", "true");
    }
  }

  /** The pixels, or why they are not shown. @param {Entry} entry */
  #picture(entry) {
    const { id, decision, missing, unsafe } = entry;
    const veiled = decision === "review" && !this.#revealed.has(id);
    this.frame.stage.classList.toggle("sl-withheld-stage", !this.#there);
    this.frame.picture.classList.toggle("sl-viewer-veiled", veiled);
    this.frame.picture.hidden = !this.#there;
    this.frame.image.alt = veiled ? t("picture.review") : entry.prompt || t("picture.unnamed");
    fill(this.frame.notice);
    if (!this.#there) {
      const says = missing ? "viewer.missing" : "viewer.blocked";
      fill(this.frame.notice, icon(missing ? "warning" : "shield"), h("p", {}, t(says)),
        !missing && unsafe !== null && h("p", { class: "sl-hint" }, t("viewer.blocked.why", { score: percent(unsafe, 1), policy: entry.policy ?? "" })));
      this.frame.thumbnail.removeAttribute("src");
      return;
    }
    put(this.frame.thumbnail, thumbnailOf(id, veiled ? 16 : 256));
    if (veiled) fill(this.frame.notice, button({ icon: "eye", label: t("viewer.reveal"), onclick: () => this.reveal() }));
    else if (!this.#broken) put(this.frame.image, fileOf(id));
    else fill(this.frame.notice, icon("warning"), h("p", {}, t("picture.broken")), button({ label: t("gallery.again"), onclick: () => this.#again() }));
  }

  /** Show a picture for review. */
  reveal() {
    this.#revealed.add(this.#item.id);
    this.#describe();
  }

  #loaded() {
    this.frame.image.classList.add("sl-loaded");
    const near = [this.items[this.index + 1], this.items[this.index - 1]];
    this.ahead = near
      .filter((item) => item?.decision === "allow" && !item.missing)
      .map(({ id }) => Object.assign(new Image(), { src: fileOf(id) }));
  }

  /** The file did not come: ask whether it is gone or only could not be had now. */
  async #failed() {
    const { id } = this.#item;
    const error = await request("GET", fileOf(id)).then(() => null, (reason) => reason);
    if (this.#shown !== id || current !== this) return;
    const missing = error instanceof ApiError && GONE.includes(error.status);
    if (missing) this.#whole.set(id, { ...this.entry, missing });
    this.#broken = !missing;
    this.#describe();
  }

  /** Ask once more for a file that did not come. */
  #again() {
    this.#broken = false;
    this.frame.image.removeAttribute("src");
    this.#describe();
  }

  /** Ask for the whole record. @param {string} id */
  async #complete(id) {
    const entry = await get(`/v1/gallery/${id}`);
    const partial = !("width" in (this.items.find((item) => item.id === id) ?? {}));
    this.#whole.set(id, entry);
    if (this.#shown !== id || current !== this) return;
    if (partial) this.zoom.show(entry);
    this.#describe();
  }

  /** Load further pictures when the end is near. */
  async #more() {
    if (!this.options.load || this.#exhausted || this.#loading || this.index < this.items.length - NEAR) return;
    this.#loading = true;
    try {
      const more = await this.options.load();
      this.#exhausted = !more.length;
      this.items.push(...more);
      this.frame.next.disabled = this.index === this.items.length - 1;
    } catch (error) {
      complain(error);
    } finally {
      this.#loading = false;
    }
  }

  /** @param {import("./viewer/frame.js").Deed} name */
  async do(name) {
    const at = DEEDS.findIndex(([each]) => each === name);
    const pressed = /** @type {HTMLButtonElement} */ (this.frame.deeds.children[at]);
    if (pressed.disabled) return;
    pressed.disabled = true;
    try {
      await this.studio.actions[name](this.#item.id);
      if (DEEDS[at][3]) this.close();
    } catch (error) {
      complain(error);
    } finally {
      pressed.disabled = false;
      if (current === this) this.#describe();
    }
  }

  async favourite() {
    const { id, favourite } = this.entry;
    this.#mark(id, !favourite);
    try {
      await this.studio.actions.favourite(id, !favourite);
    } catch (error) {
      this.#mark(id, favourite);
      complain(error);
    }
  }

  /** @param {string} id @param {boolean} favourite */
  #mark(id, favourite) {
    const whole = this.#whole.get(id);
    if (whole) this.#whole.set(id, { ...whole, favourite });
    this.items = this.items.map((item) => (item.id === id ? { ...item, favourite } : item));
    this.options.onchange?.({ kind: "favourite", id, favourite });
    if (this.#shown === id) this.frame.heart.setAttribute("aria-pressed", String(favourite));
  }

  remove() {
    const item = this.#item, at = this.index;
    this.studio.actions.remove(item.id, {
      hide: () => {
        this.items.splice(at, 1);
        this.options.onchange?.({ kind: "removed", id: item.id });
        if (!this.items.length) return this.close();
        this.index = Math.min(at, this.items.length - 1);
        this.#show();
      },
      restore: () => {
        this.options.onchange?.({ kind: "restored", id: item.id });
        if (current !== this) return;
        this.index = Math.min(at, this.items.length);
        this.items.splice(this.index, 0, item);
        this.#show();
      },
    });
  }

  /** The picture to compare with: the one looked at before, or else a neighbour. */
  #other() {
    const can = (/** @type {Item | undefined} */ item) => item && item.decision !== "block" && !item.missing;
    return [this.items.find(({ id }) => id === this.#before), this.items[this.index + 1], this.items[this.index - 1]].find(can);
  }

  compare() {
    const other = this.#other();
    if (other && this.#there) openCompare(other.id, this.#item.id, { among: this.items, revealed: this.#revealed });
  }

  toggle() {
    const folded = !this.overlay.box.classList.contains("sl-folded");
    if (!NARROW.matches) localStorage.setItem(FOLDED, folded ? "yes" : "no");
    this.#unfold(!folded);
  }

  /** @param {boolean} open */
  #unfold(open) {
    this.overlay.box.classList.toggle("sl-folded", !open);
    this.frame.fold.setAttribute("aria-expanded", String(open));
    this.frame.panel.toggleAttribute("inert", !open);
  }
}

/** A picture of which little is known, as an entry. @param {Item} item @returns {Entry} */
function withBlanks(item) {
  return /** @type {Entry} */ ({
    width: 1, height: 1, decision: "allow", unsafe: null, scores: {}, policy: null, prompt: "", negative_prompt: "", seed: null,
    steps: null, sampler: null, checkpoint: null, created: new Date().toISOString(), kind: null, size: 0, missing: false,
    favourite: false, tags: [], ...item,
  });
}

/** @param {HTMLImageElement} image @param {string} src */
function put(image, src) {
  if (image.getAttribute("src") !== src) image.src = src;
}

/** Make its keys known to the page's help; they act while a viewer is the uppermost thing. */
export function listenForViewer() {
  if (listening) return;
  listening = true;
  const on = (/** @type {string} */ keys, /** @type {string} */ says, /** @type {(viewer: Viewer) => void} */ run) =>
    shortcut(keys, says, () => current && run(current), { when: () => !!current?.isTop });
  on("ArrowLeft", "viewer.previous", (viewer) => viewer.arrow(-1, 0));
  on("ArrowRight", "viewer.next", (viewer) => viewer.arrow(1, 0));
  on("ArrowUp", "viewer.pan", (viewer) => viewer.arrow(0, -1));
  on("ArrowDown", "viewer.pan", (viewer) => viewer.arrow(0, 1));
  on("+", "viewer.zoom_in", (viewer) => viewer.zoom.step(1));
  on("-", "viewer.zoom_out", (viewer) => viewer.zoom.step(-1));
  on("0", "viewer.fit", (viewer) => viewer.zoom.fit(true));
  on("i", "viewer.details", (viewer) => viewer.toggle());
  for (const [name, , key] of DEEDS) on(key, `viewer.${name}`, (viewer) => viewer.do(name));
  on("d", "viewer.download", (viewer) => viewer.frame.link.href && viewer.frame.link.click());
  on("f", "viewer.favourite", (viewer) => viewer.favourite());
  on("Delete", "viewer.delete", (viewer) => viewer.remove());
  on("b", "viewer.compare", (viewer) => viewer.compare());
  on("Escape", "close", (viewer) => viewer.close());
}
