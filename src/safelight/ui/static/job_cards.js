// The cards of jobs next to the form: each shows its job from the queue to the finished pictures.

import { get } from "./core/api.js";
import { button, h, icon, setChildren } from "./core/dom.js";
import { isFinished } from "./core/job_store.js";
import { decisionBadge, pictureFrame, thumbnailUrl } from "./core/picture.js";
import { scrollToElement } from "./core/scroll.js";
import { formatDuration, formatTime, t } from "./core/text.js";
import { showError, withErrorToast } from "./core/toast.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./types").Job} Job */
/** @typedef {import("./types").OutputPicture} OutputPicture */

const MAX_CARDS = 30; // older jobs' pictures are in the gallery
const MAX_PLACEHOLDERS = 24; // placeholders per card
const MAX_PICTURES = 100; // pictures per card
const FETCH_INTERVAL = 500; // milliseconds between two requests for finished pictures
const MAX_COLUMN_WIDTH = 380; // CSS pixels of a column, when a job has several pictures

/** @param {HTMLElement} root @param {import("./types").PageContext} context */
export function mountJobCards(root, context) {
  /** @type {Map<string, JobCard>} */
  const cards = new Map();
  const largest = Number(root.dataset.thumbnail);
  const list = h("div", { class: "sl-cards", role: "region", "aria-label": t("cards.title") });
  const emptyNote = h("div", { class: "sl-empty" }, h("div", { class: "sl-lamp", "aria-hidden": "true" }), h("h3", {}, t("cards.empty")), h("p", {}, t("cards.empty.says")));
  const backButton = button({ icon: "up", label: t("cards.back"), class: "sl-button sl-back", onclick: scrollToForm });
  setChildren(root, h("h2", { class: "sl-hidden" }, t("cards.title")), backButton, list, emptyNote);

  // One polite live region for all cards announces changes of state, not every step.
  const liveRegion = h("p", { class: "sl-hidden", role: "status" });
  root.append(liveRegion);
  /** @type {Map<string, string>} */
  const states = new Map(context.jobStore.newestFirst().map((job) => [job.id, job.state]));
  const announce = (/** @type {Job} */ job) => {
    const before = states.get(job.id);
    states.set(job.id, job.state);
    if (before && before !== job.state) liveRegion.textContent = `${job.request.prompt ?? ""}: ${statusText(job, false)}`;
  };

  const render = () => {
    const jobs = context.jobStore.newestFirst().filter((job) => job.kind !== "scan").slice(0, MAX_CARDS);
    const ids = new Set(jobs.map((job) => job.id));
    for (const [id, card] of cards) if (!ids.has(id)) (card.element.remove(), cards.delete(id));
    jobs.forEach((job, index) => {
      let card = cards.get(job.id);
      if (!card) cards.set(job.id, (card = new JobCard(job, context, largest)));
      card.update(job);
      if (list.children[index] !== card.element) list.insertBefore(card.element, list.children[index] ?? null);
    });
    emptyNote.hidden = jobs.length > 0;
    backButton.hidden = jobs.length === 0;
  };
  context.jobStore.subscribe((change) => {
    if (change.type === "job") announce(change.job);
    if (change.type === "job" && cards.has(change.job.id)) return cards.get(change.job.id)?.update(change.job);
    if (change.type === "job" || change.type === "jobs") return render();
    if (change.type === "queue") return change.ids.forEach((id) => cards.get(id)?.update(/** @type {Job} */ (context.jobStore.jobs.get(id))));
    if (change.type === "preview") return cards.get(change.id)?.preview(change);
    if (change.type === "connection" && change.connected) return reloadBrokenImages(list);
    if (change.type === "error") showError(Object.assign(new Error(), change.error));
  });
  addEventListener("sl:entry", (event) => {
    const { kind, id } = /** @type {CustomEvent} */ (event).detail;
    if (kind !== "favourite") for (const card of cards.values()) card.setHidden(id, kind === "removed");
  });
  render();
}

/** The card of a job that the page has just submitted; it exists at once. @param {string} id */
export const cardElement = (id) => /** @type {HTMLElement | null} */ (document.querySelector(`.sl-card[data-job="${CSS.escape(id)}"]`));

/** Scroll to the form, which is above the cards in a narrow window. */
function scrollToForm() {
  const form = document.querySelector(/** @type {"div"} */ ("#sl-form"));
  if (form) void scrollToElement(form, { focus: form });
}

/** Reload images that failed while the server could not be reached. @param {HTMLElement} list */
function reloadBrokenImages(list) {
  for (const image of list.querySelectorAll(/** @type {"img"} */ (".sl-broken img"))) image.src = image.src;
}

class JobCard {
  /** Finished pictures by index. @type {Map<number, OutputPicture>} */
  #finished = new Map();
  /** Placeholders by the index of their picture. @type {Map<number, HTMLElement>} */
  #placeholders = new Map();
  #fetching = false;
  #fetchedUpTo = 0; // number of pictures at the last request for finished ones
  #renderedState = "";

  /** @param {Job} job @param {import("./types").PageContext} context @param {number} largest  maximum side of a thumbnail, in pixels */
  constructor(job, context, largest) {
    this.context = context;
    this.largest = largest;
    this.job = job;
    const title = job.request.prompt || t(job.kind === "upscale" ? "cards.upscale" : "cards.no_prompt");
    this.title = h("h3", { class: "sl-card-title", title: title }, title);
    this.status = h("p", { class: "sl-card-status" });
    this.buttons = h("div", { class: "sl-card-buttons" });
    this.progressBar = h("div", { class: "sl-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("cards.progress") }, h("div"));
    this.pictures = h("div", { class: "sl-card-pictures" });
    this.errorBox = h("div");
    this.overflowNote = h("p", { class: "sl-hint", hidden: true });
    this.element = h("article", { class: "sl-card", "aria-label": title, tabindex: 0, "data-job": job.id },
      h("header", {}, h("div", { class: "sl-card-words" }, this.title, this.status), this.buttons), this.progressBar, this.errorBox, this.pictures, this.overflowNote);
  }

  /** Render a job's current state. @param {Job} job */
  update(job) {
    this.job = job;
    const finished = isFinished(job);
    if (this.#renderedState !== job.state) {
      this.#renderedState = job.state;
      this.element.dataset.state = job.state;
      this.#renderButtons(finished);
      this.progressBar.hidden = finished;
    }
    setChildren(this.status, statusText(job, this.context.me.role === "admin" && job.owner !== this.context.me.owner));
    const percent = Math.round((job.progress?.fraction ?? 0) * 100);
    this.progressBar.setAttribute("aria-valuenow", String(percent));
    /** @type {HTMLElement} */ (this.progressBar.firstElementChild).style.transform = `scaleX(${percent / 100})`;
    if (job.error && !this.errorBox.childElementCount) setChildren(this.errorBox, h("div", { class: "sl-card-error" }, icon("warning"), h("div", {}, h("p", {}, job.error.message), job.error.hint && h("p", { class: "sl-hint" }, job.error.hint))));
    for (const picture of job.result?.pictures ?? []) this.#showPicture(picture);
    const resultKnown = job.result !== null || job.state === "failed"; // large results are not sent over the WebSocket
    if (finished && resultKnown) this.#removePlaceholders();
    if (!finished) this.#addPlaceholders(job);
    if (finished ? !resultKnown : (job.progress?.picture ?? 0) > this.#fetchedUpTo) void this.#fetchFinished();
    const preview = this.context.jobStore.previews.get(job.id);
    if (!finished && preview) this.preview(preview);
  }

  /** Show a preview of the picture that is being generated. @param {{picture: number, image: string}} preview */
  preview({ picture, image }) {
    if (this.#finished.has(picture)) return;
    const placeholder = this.#placeholder(picture);
    const shown = placeholder.querySelector("img");
    if (shown && shown.src !== image) shown.src = image;
    else if (!shown) placeholder.replaceChildren(h("img", { src: image, alt: t("cards.preview"), class: "sl-preview" }));
    placeholder.classList.remove("sl-waiting");
  }

  /** Add placeholders for the expected pictures, up to a limit. @param {Job} job */
  #addPlaceholders(job) {
    const count = job.kind === "generate" ? (job.request.count ?? 1) : 1;
    for (let index = 0; index < Math.min(count, MAX_PLACEHOLDERS); index++) this.#placeholder(index);
    this.#setColumns(count);
  }

  /** The placeholder of a picture. @param {number} index @returns {HTMLElement} */
  #placeholder(index) {
    const existing = this.#placeholders.get(index);
    if (existing) return existing;
    const placeholder = h("div", { class: "sl-slot sl-waiting", style: `aspect-ratio: ${aspectRatioOf(this.job)}` });
    const next = [...this.#placeholders.keys()].filter((other) => other > index).sort((one, other) => one - other)[0];
    this.pictures.insertBefore(placeholder, this.#placeholders.get(next) ?? null);
    this.#placeholders.set(index, placeholder);
    return placeholder;
  }

  /** @param {number} count */
  #setColumns(count) {
    this.pictures.style.setProperty("--columns", String(columnCount(count)));
  }

  /** Load finished pictures; one request at a time, and only if there are new ones. */
  async #fetchFinished() {
    if (this.#fetching) return;
    this.#fetching = true;
    try {
      const expected = isFinished(this.job) ? MAX_PICTURES : (this.job.progress?.picture ?? 0);
      const limit = Math.min(MAX_PICTURES, Math.max(1, expected - this.#finished.size + 1));
      const { entries } = await get(`/v1/gallery?job_id=${this.job.id}&limit=${limit}`);
      for (const entry of entries) this.#showPicture(entry);
      this.#fetchedUpTo = expected;
      if (isFinished(this.job)) this.#removePlaceholders();
    } catch (error) {
      if (isFinished(this.job)) showError(error); // while the job runs, the next step tries again
    } finally {
      setTimeout(() => (this.#fetching = false), FETCH_INTERVAL);
    }
  }

  /** Hide a picture, or show it again. @param {string} id @param {boolean} hidden */
  setHidden(id, hidden) {
    const picture = [...this.#finished.values()].find((each) => each.id === id);
    const placeholder = picture && this.#placeholders.get(picture.index);
    if (placeholder) placeholder.hidden = hidden;
  }

  /** @param {OutputPicture} picture */
  #showPicture(picture) {
    if (this.#finished.has(picture.index)) return;
    this.#finished.set(picture.index, picture);
    if (this.#finished.size > MAX_PICTURES) {
      this.overflowNote.hidden = false;
      return setChildren(this.overflowNote, t("cards.rest", { n: this.#finished.size - MAX_PICTURES }));
    }
    const placeholder = this.#placeholder(picture.index);
    placeholder.classList.remove("sl-waiting");
    const shown = { ...picture, prompt: this.job.request.prompt };
    placeholder.style.aspectRatio = `${picture.width} / ${picture.height}`;
    setChildren(placeholder, pictureFrame(shown, { src: thumbnailUrl(picture.id, this.#thumbnailSize), onopen: () => this.#openViewer(picture.index) }), decisionBadge(picture));
    placeholder.hidden = this.context.actions.isBeingDeleted(picture.id);
  }

  /** The thumbnail's size: large for a single picture, the column's width for several. */
  get #thumbnailSize() {
    const isSingle = (this.job.request.count ?? 1) === 1;
    return isSingle ? this.largest : Math.min(this.largest, 2 ** Math.ceil(Math.log2(MAX_COLUMN_WIDTH * devicePixelRatio)));
  }

  /** Remove placeholders that got no picture. */
  #removePlaceholders() {
    for (const [index, slot] of this.#placeholders) if (!this.#finished.has(index)) slot.remove();
    this.#setColumns(this.#finished.size);
  }

  /** @param {number} index */
  #openViewer(index) {
    const pictures = [...this.#finished.values()].sort((one, other) => one.index - other.index);
    openViewer(this.context, pictures, pictures.findIndex((picture) => picture.index === index), {
      onchange: (change) => dispatchEvent(new CustomEvent("sl:entry", { detail: change })), // so that the gallery shows it as well
    });
  }

  /** @param {boolean} finished */
  #renderButtons(finished) {
    const { id, request, kind } = this.job;
    const signal = (/** @type {"cancel" | "finish" | "skip"} */ action) => withErrorToast(() => this.context.jobStore.sendCommand(action, id));
    const focused = this.buttons.contains(document.activeElement);
    const running = this.job.state === "running" && kind === "generate";
    const firstVisible = () => [...this.#finished.values()].sort((one, other) => one.index - other.index).find((picture) => picture.decision !== "block");
    const use = withErrorToast(async () => {
      const picture = firstVisible();
      if (picture) await this.context.actions.use(picture.id);
    });
    setChildren(
      this.buttons,
      running && (request.count ?? 1) > 1 && button({ icon: "right", label: t("cards.skip"), iconOnly: true, onclick: signal("skip") }),
      running && button({ icon: "check", label: t("cards.finish"), iconOnly: true, onclick: signal("finish") }),
      !finished && button({ icon: "stop", label: t(this.job.state === "queued" ? "cards.cancel" : "cards.stop"), onclick: signal("cancel"), class: "sl-button sl-stop" }),
      finished && this.job.state === "succeeded" && kind === "generate" && button({ icon: "reuse", label: t("cards.use"), iconOnly: true, onclick: use }),
    );
    if (focused) (this.buttons.querySelector("button") ?? this.element).focus();
  }
}

/** A job's state as text. @param {Job} job @param {boolean} showOwner */
function statusText(job, showOwner) {
  const parts = [];
  const { progress } = job;
  if (job.state === "queued") {
    parts.push(job.position === null ? t("cards.queued") : t("cards.place", { place: job.position }));
  } else if (job.state === "running") {
    const stage = t(`stage.${progress?.stage ?? "loading"}`);
    parts.push(progress && progress.steps > 1 ? t("cards.step", { stage, step: progress.step, steps: progress.steps }) : stage);
    if (progress && progress.pictures > 1) parts.push(t("cards.picture", { picture: progress.picture + 1, pictures: progress.pictures }));
    if (job.attempt > 1) parts.push(t("cards.again"));
  } else {
    parts.push(t(`cards.${job.state}`, { time: formatTime(job.ended ?? job.created) }));
    if (job.started && job.ended && job.state === "succeeded") parts.push(formatDuration((Date.parse(job.ended) - Date.parse(job.started)) / 1000));
  }
  if (job.eta !== null && !isFinished(job)) parts.push(t("cards.eta", { time: formatDuration(job.eta) }));
  if (showOwner) parts.push(job.owner);
  return parts.join(" · ");
}

/** @param {Job} job */
const aspectRatioOf = ({ request }) => `${request.width ?? 1} / ${request.height ?? 1}`;
/** @param {number} count */
const columnCount = (count) => (count <= 1 ? 1 : count <= 4 ? 2 : count <= 9 ? 3 : 4);
