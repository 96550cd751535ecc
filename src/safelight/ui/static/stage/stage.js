// The stage of the Create tab: the pictures of the selected job as large as they fit, with its progress, and the actions on a picture.

import { button, h, icon, setChildren } from "../core/dom.js";
import { Entries } from "../core/entries.js";
import { errorText, isServersText } from "../core/error_text.js";
import { isFinished } from "../core/job_store.js";
import { fileUrl, thumbnailUrl } from "../core/picture.js";
import { formatNumber, formatPercent, t } from "../core/text.js";
import { showError, withErrorToast } from "../core/toast.js";
import { Cell } from "./cell.js";
import { jobButtons, jobTitle, percentDone, statusText } from "./job_status.js";
import { arrange, MAX_ENLARGEMENT } from "./layout.js";
import { PictureActions } from "./picture_actions.js";
import { trackPointed } from "./pointed.js";

/** @typedef {import("../types").Job} Job */
/** @typedef {import("../types").OutputPicture} OutputPicture */
/** @typedef {import("./strip.js").Selection} Selection */

const GAP = 8; // CSS pixels between two pictures
const UNKNOWN_SIDE = 512; // pixels of a picture to come whose size is not known
const MAX_PLACEHOLDERS = 24; // for pictures that are still to come
const FULL_SIZE = 0.9; // from this share of its own size on, a picture is shown from its file and not from a thumbnail

export class Stage {
  /** @type {Selection | null} */
  #selection = null;
  /** Cells by the index of their picture. @type {Map<number, Cell>} */
  #cells = new Map();
  #filling = false; // whether pictures may be enlarged beyond MAX_ENLARGEMENT
  #renderedState = "";
  #entries = new Entries();
  /** Whether pictures are compared with their source, by id, where the user has chosen; upscaled ones are otherwise. @type {Map<string, boolean>} */
  #compared = new Map();

  /**
   * @param {import("../types").PageContext} context
   * @param {import("../core/job_pictures.js").JobPictures} pictures
   * @param {{largestThumbnail: number, sizeOf: (checkpoint: string | null | undefined) => import("./layout.js").Size | null, onselect: (selection: Selection) => void}} options
   *   largestThumbnail: pixels; sizeOf: a checkpoint's own size, if it is known; onselect: called when the user selects a picture, or all of a job
   */
  constructor(context, pictures, { largestThumbnail, sizeOf, onselect }) {
    this.context = context;
    this.pictures = pictures;
    this.largestThumbnail = largestThumbnail;
    this.sizeOf = sizeOf;
    this.onselect = onselect;
    this.title = h("h3", { class: "sl-stage-title" });
    this.status = h("p", { class: "sl-stage-status" });
    this.gridButton = button({ icon: "grid", label: t("jobs.grid"), iconOnly: true, onclick: () => this.#selectIndex(null) });
    this.scaleButton = button({ label: "", kind: "quiet", class: "sl-button sl-quiet sl-stage-scale", onclick: () => this.#toggleFilling() });
    this.buttons = h("div", { class: "sl-stage-buttons" });
    this.progressBar = h("div", { class: "sl-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("jobs.progress") }, h("div"));
    this.area = h("div", { class: "sl-stage-area" });
    this.errorBox = h("div", { class: "sl-stage-error" });
    this.actions = new PictureActions(context, this.#entries, {
      open: (picture) => this.#openViewer(picture.index),
      compare: withErrorToast((picture) => this.#compare(picture)),
      isCompared: (picture) => !!this.#sourceToCompare(picture),
    });
    trackPointed(this.area, {
      onpoint: (cell) => this.actions.point(cell, this.#pictureIn(cell)),
      onmenu: (cell, place) => this.#openMenu(cell, place),
    });
    this.element = h("section", { class: "sl-stage-job", "aria-label": t("jobs.stage"), tabindex: -1, hidden: true },
      h("header", { class: "sl-stage-head" }, h("div", { class: "sl-stage-words" }, this.title, this.status), this.scaleButton, this.gridButton, this.buttons),
      this.progressBar, this.errorBox, this.area, this.actions.element);
    new ResizeObserver(() => this.#layOut()).observe(this.area);
    pictures.subscribe((jobId) => jobId === this.#selection?.jobId && this.render());
    context.jobStore.subscribe((change) => {
      if (change.type === "jobs" || (change.type === "job" && change.job.id === this.#selection?.jobId)) this.render();
      else if (change.type === "queue" && this.#selection && change.ids.includes(this.#selection.jobId)) this.#renderHead();
      else if (change.type === "preview" && change.id === this.#selection?.jobId) this.#renderPreview(change);
      else if (change.type === "connection" && change.connected) this.#reloadBroken();
    });
  }

  /** What is shown. @returns {Selection | null} */
  get selection() {
    return this.#selection;
  }

  /** The selected picture; null if all of a job are shown, or none is finished. @returns {OutputPicture | null} */
  get picture() {
    const pictures = this.#pictures;
    if (this.#selection?.index === null) return pictures.length === 1 && this.#expected === 1 ? pictures[0] : null;
    return pictures.find(({ index }) => index === this.#selection?.index) ?? null;
  }

  /** Show a job, or one of its pictures. @param {Selection | null} selection */
  select(selection) {
    if (selection?.jobId !== this.#selection?.jobId) {
      this.#filling = false;
      this.#renderedState = "";
      this.#clearCells();
    }
    this.#selection = selection;
    this.render();
  }

  render() {
    const job = this.#job;
    this.element.hidden = !job;
    if (!job) return;
    this.#loadSource();
    this.#renderHead();
    this.#renderCells();
    this.actions.show(this.picture);
  }

  /** Open the selected picture, or the first one, in the viewer. */
  open() {
    const [first] = this.#pictures;
    if (this.picture ?? first) this.#openViewer((this.picture ?? first).index);
  }

  /** @returns {Job | undefined} */
  get #job() {
    return this.#selection ? this.context.jobStore.jobs.get(this.#selection.jobId) : undefined;
  }

  /** @returns {OutputPicture[]} */
  get #pictures() {
    return this.#selection ? this.pictures.of(this.#selection.jobId) : [];
  }

  /** The picture in a cell. @param {HTMLElement | null} cell @returns {OutputPicture | null} */
  #pictureIn(cell) {
    return this.#pictures.find(({ id }) => id === cell?.dataset.picture) ?? null;
  }

  /** The id of the picture that the selected one was made from, or that the job upscales. @returns {string | null} */
  get #sourceId() {
    const job = this.#job;
    return this.picture?.parent_id ?? (job?.kind === "upscale" ? job.parent : null) ?? null;
  }

  /** The entry of that picture, if it is loaded and can be shown. @returns {import("../types").GalleryEntry | null} */
  get #source() {
    const entry = this.#sourceId ? this.#entries.get(this.#sourceId) : null;
    return entry && entry.decision === "allow" && !entry.missing ? entry : null;
  }

  #loadSource() {
    const id = this.#sourceId;
    if (id && this.#entries.get(id) === undefined) this.#entries.load(id).then(() => this.#sourceId === id && this.render(), showError);
  }

  /** The source that a picture is compared with on the stage. @param {OutputPicture} picture */
  #sourceToCompare(picture) {
    const wanted = this.#compared.get(picture.id) ?? picture.relation === "upscale";
    return wanted && picture.id === this.picture?.id && picture.decision === "allow" ? this.#source : null;
  }

  /** Compare a picture with its source on the stage, or stop; one that has none is compared with a neighbour. @param {OutputPicture} picture */
  async #compare(picture) {
    const source = picture.parent_id ? await this.#entries.load(picture.parent_id).catch((error) => (showError(error), null)) : null;
    const pictures = this.#pictures;
    if (source?.decision === "allow" && !source.missing && picture.id === this.picture?.id && picture.decision === "allow") {
      this.#compared.set(picture.id, !this.#sourceToCompare(picture));
      return this.render();
    }
    const at = pictures.indexOf(picture);
    const other = source && source.decision !== "block" && !source.missing ? source : (pictures[at - 1] ?? pictures[at + 1]);
    if (other && other.decision !== "block") (await import("../viewer/compare.js")).openCompare(other.id, picture.id, { among: pictures });
  }

  /** @param {HTMLElement} cell @param {import("../core/popover.js").Place} place */
  #openMenu(cell, place) {
    const picture = this.#pictureIn(cell);
    if (picture) this.actions.openMenu(picture, place);
  }

  /** The number of pictures that the job has, or will have. */
  get #expected() {
    const job = this.#job;
    if (!job || (isFinished(job) && this.pictures.isComplete(job))) return this.#pictures.length;
    return job.kind === "generate" ? (job.request.count ?? 1) : 1;
  }

  /** What the job is called; an upscaling that is not finished is called after its source. @param {Job} job */
  #title(job) {
    const prompt = job.kind === "upscale" && !job.result ? this.#source?.prompt : "";
    return prompt ? t("jobs.upscaled", { prompt }) : jobTitle(job);
  }

  /** Title, state, buttons, progress and error of the job. */
  #renderHead() {
    const job = this.#job;
    if (!job) return;
    const { me, jobStore } = this.context;
    this.element.dataset.job = job.id;
    this.title.textContent = this.title.title = this.#title(job);
    const running = job.state === "running" ? [...jobStore.jobs.values()].filter(({ state }) => state === "running").length : 0;
    const status = statusText(job, me.role === "admin" && job.owner !== me.owner);
    this.status.textContent = running > 1 ? `${status} · ${t("queue.at_once", { n: running })}` : status; // why it takes longer than alone
    const percent = percentDone(job);
    if (job.kind === "upscale" && !isFinished(job)) this.#cells.get(0)?.progress(`${statusText(job)} · ${formatPercent(percent / 100)}`);
    this.progressBar.setAttribute("aria-valuenow", String(percent));
    /** @type {HTMLElement} */ (this.progressBar.firstElementChild).style.transform = `scaleX(${percent / 100})`;
    if (this.#renderedState === job.state) return;
    this.#renderedState = this.element.dataset.state = job.state;
    this.progressBar.hidden = job.state !== "running";
    const focused = this.buttons.contains(document.activeElement);
    setChildren(this.buttons, jobButtons(job, jobStore));
    if (focused) (this.buttons.querySelector("button") ?? this.element).focus();
    setChildren(this.errorBox, job.error && h("div", { class: "sl-job-error" }, icon("warning"), h("div", {}, h("p", {}, errorText(job.error)), isServersText(job.error) && job.error.hint && h("p", { class: "sl-hint" }, job.error.hint))));
  }

  /** The pictures, and places for those that are still to come. */
  #renderCells() {
    const pictures = new Map(this.#pictures.map((picture) => [picture.index, picture]));
    const single = this.#selection?.index ?? null;
    const indices = single === null ? [...new Set([...pictures.keys(), ...this.#placeholderIndices()])].sort((one, other) => one - other) : pictures.has(single) ? [single] : [];
    const focused = document.activeElement;
    for (const [index, cell] of this.#cells) if (!indices.includes(index)) (cell.element.remove(), this.#cells.delete(index));
    if (focused && !focused.isConnected) (this.area.querySelector(/** @type {"button"} */ (".sl-frame")) ?? this.element).focus({ preventScroll: true }); // a picture that had the focus was deleted
    for (const index of indices) {
      const cell = this.#cells.get(index) ?? new Cell();
      this.#cells.set(index, cell);
      cell.picture = pictures.get(index) ?? null;
    }
    const elements = indices.map((index) => /** @type {Cell} */ (this.#cells.get(index)).element);
    if (elements.some((element, at) => element !== this.area.children[at]) || elements.length !== this.area.children.length) setChildren(this.area, elements);
    this.gridButton.hidden = single === null || this.#expected < 2;
    const job = /** @type {Job} */ (this.#job);
    const preview = this.context.jobStore.previews.get(job.id);
    this.#layOut();
    if (preview && !isFinished(job)) this.#renderPreview(preview);
    const source = this.#source;
    if (source && !this.#pictures.length && !isFinished(job)) this.#renderPreview({ picture: 0, image: thumbnailUrl(source.id, this.largestThumbnail) });
  }

  /** Indices of the pictures that are still to come, up to a limit. @returns {number[]} */
  #placeholderIndices() {
    const job = this.#job;
    if (!job || isFinished(job)) return [];
    return [...Array(Math.min(this.#expected, MAX_PLACEHOLDERS)).keys()];
  }

  /** @param {{picture: number, image: string}} preview */
  #renderPreview({ picture, image }) {
    this.#cells.get(picture)?.preview(image);
  }

  /** Give every cell its size, and its image in the resolution that this needs. */
  #layOut() {
    const area = { width: this.area.clientWidth, height: this.area.clientHeight };
    const cells = [...this.#cells];
    if (!cells.length || !area.width || !area.height) return;
    const size = this.#pictureSize();
    const maxScale = this.#filling ? Infinity : MAX_ENLARGEMENT;
    const { columns, scale } = arrange(cells.length, size, area, GAP, maxScale);
    this.area.style.gridTemplateColumns = `repeat(${columns}, ${size.width * scale}px)`;
    for (const [index, cell] of cells) {
      cell.lay({ width: size.width * scale, height: size.height * scale }, {
        source: (picture, width) => this.#sourceOf(picture, width),
        before: this.#urlBefore(cell.picture, size.width * scale),
        name: jobTitle(/** @type {Job} */ (this.#job)),
        onopen: () => (this.#selection?.index === null && cells.length > 1 ? this.#selectIndex(index) : this.#openViewer(index)),
      });
    }
    this.#renderScale(size, scale, arrange(cells.length, size, area, GAP).scale);
  }

  /** The size of the job's pictures: that of the first one, or what was asked for. */
  #pictureSize() {
    const picture = this.#pictures.find(({ index }) => this.#cells.has(index));
    if (picture) return { width: picture.width, height: picture.height };
    const { request, kind } = /** @type {Job} */ (this.#job);
    const source = kind === "upscale" ? this.#source : null;
    if (source) return { width: Math.round(source.width * request.by), height: Math.round(source.height * request.by) };
    const own = this.#checkpointSize;
    return { width: request.width ?? own?.width ?? UNKNOWN_SIDE, height: request.height ?? own?.height ?? UNKNOWN_SIDE };
  }

  /** The own size of the checkpoint that generates; null: not known, or nothing is generated. */
  get #checkpointSize() {
    const job = this.#job;
    return job?.kind === "generate" ? this.sizeOf(job.request.checkpoint) : null;
  }

  /** The URL of the source that a picture is compared with. @param {OutputPicture | null} picture @param {number} width  CSS pixels */
  #urlBefore(picture, width) {
    const source = picture && this.#sourceToCompare(picture);
    return source ? this.#sourceOf(source, width) : null;
  }

  /** How large pictures are shown; a press fills the stage, or limits the enlargement again. @param {import("./layout.js").Size} size @param {number} scale @param {number} fitting  the scale that fills the stage */
  #renderScale({ width, height }, scale, fitting) {
    const dimensions = `${formatNumber(width)} × ${formatNumber(height)}`;
    const [label] = this.scaleButton.children;
    label.textContent = Math.abs(scale - 1) < 0.005 ? dimensions : t("jobs.scale", { size: dimensions, scale: formatPercent(scale) });
    this.scaleButton.title = t(this.#filling ? "jobs.scale.limit" : "jobs.scale.fill");
    this.scaleButton.disabled = fitting <= MAX_ENLARGEMENT;
    this.scaleButton.setAttribute("aria-pressed", String(this.#filling));
    this.scaleButton.hidden = !this.#pictures.length && !this.#job?.request.width && !this.#checkpointSize; // a picture will tell it
  }

  #toggleFilling() {
    this.#filling = !this.#filling;
    this.#layOut();
  }

  /** The URL of a picture's image for a width on the screen. @param {{id: string, width: number, height: number}} picture @param {number} width  CSS pixels */
  #sourceOf(picture, width) {
    const longest = Math.max(width, (width / picture.width) * picture.height) * devicePixelRatio;
    const alone = this.#cells.size === 1;
    if (alone && longest >= FULL_SIZE * Math.max(picture.width, picture.height)) return fileUrl(picture.id);
    return longest > this.largestThumbnail ? fileUrl(picture.id) : thumbnailUrl(picture.id, Math.min(this.largestThumbnail, Math.max(128, 2 ** Math.ceil(Math.log2(longest)))));
  }

  /** @param {number | null} index */
  #selectIndex(index) {
    if (this.#selection) this.onselect({ jobId: this.#selection.jobId, index });
  }

  /** @param {number} index */
  #openViewer = withErrorToast(async (/** @type {number} */ index) => {
    const { openViewer } = await import("../viewer.js");
    const pictures = this.#pictures;
    openViewer(this.context, pictures, pictures.findIndex((picture) => picture.index === index), {
      onchange: (change) => dispatchEvent(new CustomEvent("sl:entry", { detail: change })), // so that the gallery shows it as well
    });
  });

  #clearCells() {
    this.#cells.clear();
    setChildren(this.area);
  }

  /** Load images that failed while the server could not be reached. */
  #reloadBroken() {
    for (const image of this.area.querySelectorAll(/** @type {"img"} */ (".sl-broken img"))) image.src = image.src;
  }
}
