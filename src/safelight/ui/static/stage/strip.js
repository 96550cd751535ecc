// The film strip under the stage: jobs with their pictures, the running ones first and pinned, then those that wait, then the finished, newest first.

import { h, icon, setChildren } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { thumbnailUrl } from "../core/picture.js";
import { t } from "../core/text.js";
import { jobTitle, percentDone, statusText } from "./job_status.js";
import { trackMenu } from "./pointed.js";

/** @typedef {import("../types").Job} Job */
/** @typedef {import("../types").OutputPicture} OutputPicture */
/** @typedef {{jobId: string, index: number | null}} Selection  a picture of a job; null: all its pictures */

export const MAX_JOBS = 30; // older jobs' pictures are in the gallery
const MAX_THUMBNAILS = 8; // of one job; the stage shows all of them
const THUMBNAIL_SIDE = 128; // pixels
const STATE_ORDER = { running: 0, queued: 1, succeeded: 2, failed: 2, cancelled: 2 };

export class Strip {
  /** @type {Map<string, StripJob>} */
  #items = new Map();
  /** @type {Selection | null} */
  #selection = null;

  /**
   * @param {import("../types").PageContext} context
   * @param {import("../core/job_pictures.js").JobPictures} pictures
   * @param {{onselect: (selection: Selection) => void, onmenu: (selection: Selection, place: import("../core/popover.js").Place) => void}} calls
   *   when the user selects a job or a picture, and when its menu is asked for
   */
  constructor(context, pictures, { onselect, onmenu }) {
    this.context = context;
    this.pictures = pictures;
    this.onselect = onselect;
    this.list = h("div", { class: "sl-strip-list", role: "list" });
    this.element = h("div", { class: "sl-strip", role: "region", "aria-label": t("jobs.title") }, this.list);
    this.element.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    this.element.addEventListener("keydown", (event) => this.#onKeyDown(event));
    trackMenu(this.element, (target) => (target instanceof Element ? target.closest(/** @type {"button"} */ (".sl-strip-picture")) : null), (button, place) => {
      const jobId = /** @type {HTMLElement | null} */ (button.closest(".sl-strip-job"))?.dataset.job ?? "";
      const picture = pictures.of(jobId).find(({ id }) => id === button.dataset.picture);
      onmenu({ jobId, index: picture?.index ?? null }, place);
    });
    pictures.subscribe((jobId) => this.#items.get(jobId)?.renderPictures(this.#selection));
    context.jobStore.subscribe((change) => {
      if (change.type === "jobs" || change.type === "job") this.render();
      else if (change.type === "queue") for (const id of change.ids) this.#update(id);
      else if (change.type === "preview") this.#items.get(change.id)?.preview(change.image);
      else if (change.type === "connection" && change.connected) this.#reloadBroken();
    });
    this.render();
  }

  /** The jobs that are shown, in their order. @returns {Job[]} */
  get jobs() {
    const order = (/** @type {Job} */ job) => STATE_ORDER[job.state];
    const jobs = this.context.jobStore.newestFirst().filter((job) => job.kind !== "scan").slice(0, MAX_JOBS);
    const place = (/** @type {Job} */ job) => (job.state === "queued" ? (job.position ?? Infinity) : 0);
    return jobs.sort((one, other) => order(one) - order(other) || place(one) - place(other)); // a stable sort: the newest stays first
  }

  /** Mark what the stage shows, and scroll to it. @param {Selection | null} selection */
  select(selection) {
    const moved = selection?.jobId !== this.#selection?.jobId;
    this.#selection = selection;
    for (const item of this.#items.values()) item.mark(selection);
    if (moved && selection) this.#items.get(selection.jobId)?.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  render() {
    const { jobs } = this;
    const shown = new Set(jobs.map(({ id }) => id));
    for (const [id, item] of this.#items) if (!shown.has(id)) (item.element.remove(), this.#items.delete(id));
    this.pictures.keep(shown);
    jobs.forEach((job, at) => {
      const item = this.#items.get(job.id) ?? this.#add(job);
      if (this.list.children[at] !== item.element) this.list.insertBefore(item.element, this.list.children[at] ?? null);
      this.#update(job.id);
    });
    this.element.hidden = jobs.length === 0;
  }

  /** @param {Job} job */
  #add(job) {
    const item = new StripJob(job, this);
    this.#items.set(job.id, item);
    return item;
  }

  /** @param {string} id */
  #update(id) {
    const job = this.context.jobStore.jobs.get(id);
    if (!job || !this.#items.has(id)) return;
    this.pictures.update(job);
    this.#items.get(id)?.update(job, this.#selection);
  }

  /** Load thumbnails that failed while the server could not be reached. */
  #reloadBroken() {
    for (const image of this.list.querySelectorAll("img")) if (image.complete && !image.naturalWidth && image.src) image.src = image.src;
  }

  /** A vertical wheel scrolls sideways. @param {WheelEvent} event */
  #onWheel(event) {
    if (event.ctrlKey || event.deltaX || this.element.scrollWidth <= this.element.clientWidth) return;
    this.element.scrollLeft += event.deltaY;
    event.preventDefault();
  }

  /** Arrow keys move from one picture to the next. @param {KeyboardEvent} event */
  #onKeyDown(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.ctrlKey || event.altKey || event.metaKey) return;
    const buttons = [...this.list.querySelectorAll(/** @type {"button"} */ (".sl-strip-picture"))];
    const next = buttons[buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement)) + by];
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    next.focus();
    next.click();
  }
}

/** A job in the strip. */
class StripJob {
  /** Buttons by the index of their picture. @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();

  /** @param {Job} job @param {Strip} strip */
  constructor(job, strip) {
    this.job = job;
    this.strip = strip;
    this.progressImage = h("img", { alt: "", class: "sl-preview", draggable: "false" });
    this.progressBar = h("span", { class: "sl-strip-bar", "aria-hidden": "true" }, h("span"));
    this.progressNote = h("span", { class: "sl-strip-note" });
    this.progress = h("button", { type: "button", class: "sl-strip-picture sl-strip-progress", onclick: () => this.#select(null) }, this.progressImage, this.progressNote, this.progressBar);
    this.more = h("button", { type: "button", class: "sl-strip-picture sl-strip-more", onclick: () => this.#select(null) });
    this.pictures = h("div", { class: "sl-strip-pictures" });
    this.element = h("div", { class: "sl-strip-job", role: "listitem", "data-job": job.id }, this.pictures);
  }

  /** @param {Job} job @param {Selection | null} selection */
  update(job, selection) {
    this.job = job;
    this.element.dataset.state = job.state;
    const status = statusText(job);
    this.progress.title = `${jobTitle(job)}\n${status}`;
    this.progress.setAttribute("aria-label", `${jobTitle(job)}: ${status}`);
    const waiting = job.state === "queued";
    setChildren(this.progressNote, job.state === "failed" ? icon("warning") : job.state === "cancelled" ? icon("stop") : waiting ? (job.position === null ? "…" : `#${job.position}`) : `${percentDone(job)} %`);
    /** @type {HTMLElement} */ (this.progressBar.firstElementChild).style.transform = `scaleX(${percentDone(job) / 100})`;
    const preview = this.strip.context.jobStore.previews.get(job.id);
    if (preview) this.preview(preview.image);
    this.renderPictures(selection);
  }

  /** @param {string} image  a data URI */
  preview(image) {
    this.progressImage.src = image;
  }

  /** @param {Selection | null} selection */
  renderPictures(selection) {
    const pictures = this.strip.pictures.of(this.job.id);
    const shown = pictures.slice(0, MAX_THUMBNAILS);
    const showProgress = !isFinished(this.job) || (pictures.length === 0 && this.strip.pictures.isComplete(this.job));
    const buttons = shown.map((picture) => this.#button(picture));
    const title = jobTitle(this.job); // of an upscaling it is known when it is finished
    buttons.forEach((button, at) => {
      button.title = title;
      button.setAttribute("aria-label", t("jobs.show", { name: title, at: shown[at].index + 1 }));
    });
    const hidden = pictures.length - shown.length;
    this.more.textContent = `+${hidden}`;
    this.more.setAttribute("aria-label", t("jobs.all", { n: pictures.length }));
    const children = [...buttons, ...(hidden > 0 ? [this.more] : []), ...(showProgress ? [this.progress] : [])];
    if (children.length !== this.pictures.children.length || children.some((child, at) => child !== this.pictures.children[at])) setChildren(this.pictures, children);
    this.mark(selection);
  }

  /** @param {Selection | null} selection */
  mark(selection) {
    const mine = selection?.jobId === this.job.id;
    this.element.classList.toggle("sl-selected", mine);
    const set = (/** @type {HTMLElement} */ element, /** @type {boolean} */ current) => (current ? element.setAttribute("aria-current", "true") : element.removeAttribute("aria-current"));
    for (const [index, each] of this.#buttons) set(each, mine && selection?.index === index);
    for (const each of [this.progress, this.more]) set(each, mine && selection?.index === null);
  }

  /** @param {OutputPicture} picture @returns {HTMLButtonElement} */
  #button(picture) {
    const existing = this.#buttons.get(picture.index);
    if (existing) return existing;
    const withheld = picture.decision === "block";
    const image = withheld ? icon("shield") : h("img", { src: thumbnailUrl(picture.id, THUMBNAIL_SIDE), alt: "", loading: "lazy", decoding: "async", draggable: "false" });
    const made = h("button", { type: "button", class: `sl-strip-picture sl-is-${picture.decision}`, "data-picture": picture.id, onclick: () => this.#select(picture.index) }, image);
    this.#buttons.set(picture.index, made);
    return made;
  }

  /** @param {number | null} index */
  #select(index) {
    this.strip.onselect({ jobId: this.job.id, index });
  }
}
