// A job in the drawer: what it is, how far it is, and what can be done with it.

import { button, h, icon } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { addressOf } from "../core/router.js";
import { formatDuration, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { jobTitle, percentDone, statusText } from "../stage/job_status.js";

/** @typedef {import("../types").Job} Job */

export class Row {
  /**
   * @param {Job} job
   * @param {import("../types").PageContext} context
   * @param {{ongrab: (event: PointerEvent) => void, onmove: (by: 1 | -1) => void}} calls  the user drags a waiting job, or moves it by one place
   */
  constructor(job, { me, jobStore }, { ongrab, onmove }) {
    this.job = job;
    const title = jobTitle(job);
    const name = job.kind === "scan" ? h("span", { class: "sl-queue-name", title }, title) : h("a", { class: "sl-queue-name", href: addressOf({ tab: "create", path: [job.id] }), title }, title);
    const owner = me.role === "admin" && me.keys ? h("span", { class: "sl-queue-owner" }, icon("user"), job.owner) : null;
    this.status = h("span", { class: "sl-queue-status" });
    this.place = h("span", { class: "sl-queue-place" });
    this.handle = h("button", {
      type: "button", class: "sl-queue-handle", "aria-label": t("queue.move", { what: title }), title: t("queue.move.how"), "aria-keyshortcuts": "Alt+ArrowUp Alt+ArrowDown",
      onpointerdown: (/** @type {PointerEvent} */ event) => event.button === 0 && ongrab(event),
    }, icon("grip"), this.place);
    this.sooner = button({ icon: "up", label: t("queue.sooner", { what: title }), iconOnly: true, onclick: () => onmove(-1) });
    this.cancel = button({ icon: "close", label: t("system.queue.cancel", { what: title }), iconOnly: true, onclick: withErrorToast(() => this.#cancel(jobStore)) });
    this.progress = h("div", { class: "sl-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("system.queue.progress", { what: title }) }, h("div"));
    this.element = h("li", { class: "sl-queue-row", "data-job": job.id },
      this.handle, h("div", { class: "sl-queue-words" }, name, h("small", {}, this.status, owner), this.progress), this.sooner, this.cancel);
    this.element.addEventListener("keydown", (event) => {
      const by = { ArrowUp: /** @type {const} */ (-1), ArrowDown: /** @type {const} */ (1) }[event.key];
      if (!by || this.job.state !== "queued" || !(event.altKey || event.target === this.handle)) return;
      event.preventDefault();
      event.stopPropagation();
      onmove(by);
    });
  }

  /** @param {Job} job @param {boolean} movable  whether there is another job that it could overtake */
  show(job, movable) {
    this.job = job;
    const waiting = job.state === "queued", running = job.state === "running";
    this.element.dataset.state = job.state;
    this.handle.hidden = !waiting;
    this.handle.disabled = this.sooner.disabled = !movable;
    this.sooner.hidden = !waiting;
    this.cancel.hidden = isFinished(job);
    this.progress.hidden = !running;
    this.place.textContent = job.position === null ? "" : String(job.position);
    this.status.textContent = waiting ? (job.eta === null ? t("jobs.queued") : t("queue.done_in", { time: formatDuration(job.eta) })) : statusText(job);
    const percent = percentDone(job);
    this.progress.setAttribute("aria-valuenow", String(percent));
    /** @type {HTMLElement} */ (this.progress.firstElementChild).style.transform = `scaleX(${percent / 100})`;
  }

  /** @param {import("../core/job_store.js").JobStore} jobStore */
  async #cancel(jobStore) {
    this.cancel.disabled = true;
    try {
      await jobStore.sendCommand("cancel", this.job.id);
    } catch (error) {
      this.cancel.disabled = false;
      throw error;
    }
  }
}
