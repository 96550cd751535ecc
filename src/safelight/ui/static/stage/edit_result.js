// The result of an edited picture: its progress and the finished pictures laid over it, and what may be done with them.

import { keepInputs } from "../actions/inputs.js";
import { post, readBlob, request } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { fileUrl } from "../core/picture.js";
import { showFilled } from "../core/slider.js";
import { t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";
import { jobButtons, percentDone, statusText } from "./job_status.js";

/** @typedef {import("../types").Job} Job */
/** @typedef {import("../types").OutputPicture} OutputPicture */

export class EditResult {
  /** @type {string | null} */
  #jobId = null;
  #index = 0; // of the shown picture among those of the job
  #revealed = ""; // id of a picture for review that the user wants to see
  #rendered = "";

  /**
   * @param {import("../types").PageContext} context
   * @param {{form: import("../form.js").Form, editor: import("../editor.js").Editor, pictures: import("../core/job_pictures.js").JobPictures,
   *   onchange: (jobId: string | null) => void}} parts  onchange: another job is followed, or none
   */
  constructor(context, { form, editor, pictures, onchange }) {
    this.context = context;
    this.form = form;
    this.editor = editor;
    this.pictures = pictures;
    this.onchange = onchange;
    this.status = h("p", { class: "sl-edit-status", role: "status" });
    this.progress = h("div", { class: "sl-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("jobs.progress") }, h("div"));
    this.split = h("input", { type: "range", class: "sl-slider", min: 0, max: 100, value: 100, "aria-label": t("editing.compare"), oninput: () => (showFilled(this.split), (editor.scene.result.split = Number(this.split.value) / 100)) });
    this.compare = h("label", { class: "sl-edit-compare" }, h("span", { "aria-hidden": "true" }, t("editing.before")), this.split, h("span", { "aria-hidden": "true" }, t("editing.after")));
    this.steps = h("div", { class: "sl-edit-steps" });
    this.buttons = h("div", { class: "sl-edit-buttons" });
    this.element = h("div", { class: "sl-edit-result", role: "group", "aria-label": t("editing.result"), hidden: true }, this.status, this.steps, this.progress, this.compare, this.buttons);
    pictures.subscribe((jobId) => jobId === this.#jobId && this.#render());
    context.jobStore.subscribe((change) => {
      if (change.type === "jobs" || (change.type === "job" && change.job.id === this.#jobId)) this.#render();
      else if (change.type === "preview" && change.id === this.#jobId) this.#render();
    });
  }

  /** Lay a job's result over the picture. @param {string} jobId */
  follow(jobId) {
    this.#jobId = jobId;
    this.#index = 0;
    this.#rendered = "";
    this.#setSplit(1);
    this.onchange(jobId);
    this.#render();
  }

  /** Back to the picture and its mask; the result stays in the gallery. */
  discard() {
    if (!this.#jobId) return;
    const focused = this.element.contains(document.activeElement);
    this.#jobId = null;
    this.element.hidden = true;
    this.editor.showResult(null);
    this.onchange(null);
    if (focused) this.editor.scene.stage.focus();
  }

  /** The shown result becomes the edited picture, without a mask; can be undone. */
  #keep = withErrorToast(async () => {
    const picture = this.#shown;
    if (!picture) return;
    const { editor } = this;
    const [restore, jobId] = [editor.snapshot(), this.#jobId];
    const blob = await readBlob(await request("GET", fileUrl(picture.id)));
    await editor.setPicture(blob, picture.id);
    if (editor.picture !== blob) return;
    this.discard();
    editor.scene.stage.focus();
    toast(t("editing.kept"), { action: { label: t("undo"), run: () => (restore(), jobId && this.follow(jobId)) } });
  });

  /** Another one: the same picture and mask with another seed. */
  #again = withErrorToast(async () => {
    const given = await this.form.request();
    delete given.seed;
    const job = await post("/v1/jobs", given);
    void keepInputs(job, given);
    this.context.jobStore.add(job);
  });

  /** @returns {OutputPicture | undefined} */
  get #shown() {
    const pictures = this.#jobId ? this.pictures.of(this.#jobId) : [];
    return pictures[Math.min(this.#index, pictures.length - 1)];
  }

  #render() {
    const { jobStore } = this.context;
    const job = this.#jobId ? jobStore.jobs.get(this.#jobId) : undefined;
    if (!job) return void (this.#jobId && jobStore.connected && this.discard()); // it is no longer in the list
    if (job.state === "cancelled" && this.pictures.isComplete(job) && !this.#shown) return this.discard();
    this.element.hidden = false;
    this.#renderProgress(job);
    this.#renderPicture(job);
  }

  /** @param {Job} job */
  #renderProgress(job) {
    const running = !isFinished(job);
    const count = this.pictures.of(job.id).length;
    this.status.textContent = running || !count ? (job.error?.message ?? statusText(job)) : this.#shown?.decision === "block" ? t("picture.blocked") : count > 1 ? t("editing.result.of", { at: this.#index + 1, of: count }) : t("editing.result");
    this.progress.hidden = !running;
    this.progress.setAttribute("aria-valuenow", String(percentDone(job)));
    /** @type {HTMLElement} */ (this.progress.firstElementChild).style.transform = `scaleX(${percentDone(job) / 100})`;
    const shown = this.#shown;
    const key = [job.id, job.state, count, this.#index, shown?.id, this.#revealed].join(" ");
    if (key === this.#rendered) return;
    this.#rendered = key;
    const hasFile = !running && !!shown && shown.decision !== "block";
    const hidden = hasFile && shown.decision === "review" && this.#revealed !== shown.id;
    this.compare.hidden = !hasFile;
    const step = (/** @type {"left" | "right"} */ image, /** @type {1 | -1} */ by) =>
      button({ icon: image, label: t(by > 0 ? "viewer.next" : "viewer.previous"), iconOnly: true, onclick: () => this.#step(by) });
    const focusedStep = [...this.steps.children].indexOf(/** @type {Element} */ (document.activeElement));
    setChildren(this.steps, !running && count > 1 && [step("left", -1), step("right", 1)]);
    if (focusedStep >= 0) /** @type {HTMLElement | undefined} */ (this.steps.children[focusedStep])?.focus();
    const focused = this.buttons.contains(document.activeElement);
    setChildren(this.buttons,
      jobButtons(job, this.context.jobStore),
      running && button({ icon: "brush", label: t("editing.go_on"), title: t("editing.go_on.hint"), onclick: () => this.discard(), "data-edit": "go_on" }),
      hidden && button({ icon: "eye", label: t("picture.review"), onclick: () => ((this.#revealed = shown.id), this.#render()) }),
      hasFile && button({ icon: "check", label: t("editing.keep"), title: t("editing.keep.hint"), kind: "primary", onclick: this.#keep, "data-edit": "keep" }),
      !running && button({ icon: "dice", label: t("editing.again"), title: t("editing.again.hint"), onclick: this.#again, "data-edit": "again" }),
      !running && button({ icon: "undo", label: t("editing.discard"), title: t("editing.discard.hint"), onclick: () => this.discard(), "data-edit": "discard" }));
    if (focused) this.buttons.querySelector("button")?.focus();
  }

  /** The finished picture, or the preview of the one that is being generated. @param {Job} job */
  #renderPicture(job) {
    const shown = this.#shown;
    const fitted = !job.request.mask && !job.request.outpaint;
    const finished = isFinished(job);
    const preview = this.context.jobStore.previews.get(job.id);
    if (finished && shown && shown.decision !== "block") {
      const blurred = shown.decision === "review" && this.#revealed !== shown.id;
      this.editor.showResult({ source: fileUrl(shown.id), size: shown, fitted, blurred, name: t("editing.result") });
    } else if (!finished && preview && !(job.request.mask && job.request.inpaint?.only_masked)) {
      const size = { width: job.request.width ?? 512, height: job.request.height ?? 512 };
      this.editor.showResult({ source: preview.image, size, fitted, blurred: false, name: t("jobs.preview") });
    } else this.editor.showResult(null, true);
  }

  /** @param {1 | -1} by */
  #step(by) {
    const { length } = this.pictures.of(/** @type {string} */ (this.#jobId));
    this.#index = (this.#index + by + length) % length;
    this.#render();
  }

  /** @param {number} share */
  #setSplit(share) {
    this.split.value = String(share * 100);
    showFilled(this.split);
    this.editor.scene.result.split = share;
  }
}
