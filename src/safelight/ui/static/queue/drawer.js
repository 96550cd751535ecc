// The drawer with all jobs in their order: the queue can be paused, its jobs moved and cancelled. It is loaded when it is first opened.

import { post } from "../core/api.js";
import { button, h, icon, setChildren } from "../core/dom.js";
import { isFinished, movesWith } from "../core/job_store.js";
import { onRoute } from "../core/router.js";
import { registerShortcut } from "../core/shortcuts.js";
import { formatNumber, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { jobTitle } from "../stage/job_status.js";
import { noDialogOpen } from "../viewer/overlay.js";
import { noticeSwitch } from "./notices.js";
import { dragRow } from "./reorder.js";
import { Row } from "./row.js";

/** @typedef {import("../types").Job} Job */

const MAX_ROWS = 200; // of each list; only the number of further jobs is shown
const MAX_FINISHED = 20;
const SURE_TIME = 4000; // milliseconds in which the second press has to follow

export class QueueDrawer {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #dragging = false;
  #frame = 0;

  /** @param {import("../types").PageContext} context @param {HTMLElement} opener  the button that opens it */
  constructor(context, opener) {
    this.context = context;
    this.button = opener;
    const { me, jobStore } = context;
    this.admin = me.role === "admin";
    this.pauseButton = button({ icon: "pause", label: t("queue.pause"), onclick: withErrorToast(() => jobStore.setPaused(!jobStore.paused)) });
    this.pauseNote = h("p", { class: "sl-queue-paused", role: "status" });
    this.running = new Section("running");
    this.waiting = new Section("waiting");
    this.finished = new Section("finished");
    this.cancelAll = new SureButton({ label: t("queue.cancel_all"), question: () => t("queue.cancel_all.sure", { n: this.#ownWaiting }), run: () => post("/v1/jobs/cancel", { state: "queued" }) });
    this.clear = button({ label: t("queue.clear"), kind: "quiet", onclick: withErrorToast(() => post("/v1/jobs/clear", {})) });
    this.waiting.heading.append(this.cancelAll.element);
    this.finished.heading.append(this.clear);
    this.emptyNote = h("p", { class: "sl-queue-empty" });
    this.announcer = h("p", { class: "sl-hidden", role: "status" });
    this.body = h("div", { class: "sl-queue-body" }, this.pauseNote, this.emptyNote, this.running.element, this.waiting.element, this.finished.element);
    this.element = h("aside", { id: "sl-queue", class: "sl-queue", "aria-label": t("queue.title"), tabindex: -1, hidden: true },
      h("header", {}, h("h2", {}, t("queue.title")), this.admin && this.pauseButton, button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => this.close() })),
      this.body, h("div", { class: "sl-queue-foot" }, noticeSwitch()), this.announcer);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
    this.element.addEventListener("click", (event) => event.target instanceof Element && event.target.closest("a") && innerWidth < 700 && this.close()); // it would cover what the link shows
    document.body.append(this.element);
    jobStore.subscribe(({ type }) => {
      if (type !== "preview") this.#frame ||= requestAnimationFrame(() => this.#render()); // waits while the page is hidden
    });
    onRoute(({ picture }) => picture && this.close());
    registerShortcut("Escape", "close", () => this.close(), { whileTyping: true, isActive: () => !this.element.hidden && noDialogOpen() });
  }

  toggle() {
    if (this.element.hidden) this.open();
    else this.close();
  }

  open() {
    this.element.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.#render();
    this.element.focus({ preventScroll: true });
  }

  close() {
    if (this.element.hidden) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.element.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (hadFocus) this.button.focus({ preventScroll: true });
  }

  /** Show the button that cancels all waiting jobs. */
  focusCancelAll() {
    this.open();
    this.cancelAll.element.focus();
  }

  /** Show the switch for notices. */
  focusNotices() {
    this.open();
    this.element.querySelector(/** @type {"input"} */ (".sl-queue-notices input"))?.focus();
  }

  /** The number of the user's own waiting jobs. */
  get #ownWaiting() {
    return this.context.jobStore.waiting.filter(({ owner }) => owner === this.context.me.owner).length;
  }

  #render() {
    this.#frame = 0;
    if (this.element.hidden || this.#dragging) return;
    const { jobStore } = this.context;
    const newest = jobStore.newestFirst();
    const running = newest.filter(({ state }) => state === "running").reverse();
    const { waiting } = jobStore;
    const finished = newest.filter(isFinished).sort((one, other) => ((one.ended ?? "") < (other.ended ?? "") ? 1 : -1)).slice(0, MAX_FINISHED);
    const shown = new Set([...running, ...waiting, ...finished].map(({ id }) => id));
    for (const [id, row] of this.#rows) if (!shown.has(id)) (row.element.remove(), this.#rows.delete(id));
    this.#renderSection(this.running, running);
    this.#renderSection(this.waiting, waiting);
    this.#renderSection(this.finished, finished);
    setText(this.running.note, running.length > 1 ? t("queue.at_once", { n: running.length }) : "");
    setText(this.waiting.note, waiting.length > 1 ? formatNumber(waiting.length) : "");
    setText(this.emptyNote, !jobStore.connected ? t("system.queue.lost") : running.length + waiting.length ? "" : t("system.queue.none"));
    setText(this.pauseNote, jobStore.paused ? t(this.admin ? "queue.paused.says" : "queue.paused.others") : "");
    if (this.pauseButton.dataset.paused !== String(jobStore.paused)) {
      this.pauseButton.dataset.paused = String(jobStore.paused);
      setChildren(this.pauseButton, icon(jobStore.paused ? "play" : "pause"), h("span", {}, t(jobStore.paused ? "queue.resume" : "queue.pause")));
    }
    this.cancelAll.element.hidden = this.#ownWaiting === 0;
  }

  /** @param {Section} section @param {Job[]} jobs */
  #renderSection(section, jobs) {
    const shown = jobs.slice(0, MAX_ROWS);
    const focused = document.activeElement;
    shown.forEach((job, at) => {
      const row = this.#rows.get(job.id) ?? this.#makeRow(job);
      row.show(job, jobs.some((other) => other.id !== job.id && movesWith(other, job)));
      if (section.list.children[at] !== row.element) section.list.insertBefore(row.element, section.list.children[at] ?? null);
    });
    if (focused !== document.activeElement && focused instanceof HTMLElement && this.element.contains(focused)) focused.focus({ preventScroll: true }); // its row was moved
    section.element.hidden = jobs.length === 0;
    setText(section.more, jobs.length > MAX_ROWS ? t("system.queue.more", { n: jobs.length - MAX_ROWS }) : "");
  }

  /** @param {Job} job */
  #makeRow(job) {
    const row = new Row(job, this.context, { ongrab: (event) => this.#grab(event, row), onmove: (by) => this.#moveBy(row, by) });
    this.#rows.set(job.id, row);
    return row;
  }

  /** Start to drag a waiting job. @param {PointerEvent} event @param {Row} row */
  #grab(event, row) {
    this.#dragging = true;
    dragRow(event, row.element, this.body, {
      ondrop: (to) => this.#moveTo(row, to),
      onend: () => {
        this.#dragging = false;
        this.#render();
      },
    });
  }

  /** Move a job by one place among those that it may overtake. @param {Row} row @param {1 | -1} by */
  #moveBy(row, by) {
    const { waiting } = this.context.jobStore;
    const group = waiting.filter((job) => movesWith(job, row.job));
    const neighbour = group[group.findIndex(({ id }) => id === row.job.id) + by];
    if (neighbour) void this.#moveTo(row, waiting.indexOf(neighbour));
  }

  /** Move a job to an index of the list of waiting jobs. @param {Row} row @param {number} to */
  #moveTo = withErrorToast(async (/** @type {Row} */ row, /** @type {number} */ to) => {
    const { jobStore } = this.context;
    const others = jobStore.waiting.filter(({ id }) => id !== row.job.id);
    const next = others.slice(to).find((job) => movesWith(job, row.job));
    const moved = jobStore.move(row.job.id, next?.id ?? null);
    this.#render();
    this.announcer.textContent = t("queue.moved", { what: jobTitle(row.job), place: jobStore.jobs.get(row.job.id)?.position ?? "" });
    await moved;
  });
}

/** A list of jobs under a heading. */
class Section {
  /** @param {string} name */
  constructor(name) {
    this.note = h("small", {});
    this.heading = h("div", { class: "sl-queue-heading" }, h("h3", { id: `sl-queue-${name}` }, t(`queue.${name}`)), this.note);
    this.list = h("ol", { class: "sl-queue-list", "aria-labelledby": `sl-queue-${name}` });
    this.more = h("p", { class: "sl-hint" });
    this.element = h("section", { class: `sl-queue-${name}`, "aria-labelledby": `sl-queue-${name}`, hidden: true }, this.heading, this.list, this.more);
  }
}

/** A button that acts on the second press. */
class SureButton {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{label: string, question: () => string, run: () => Promise<unknown>}} options */
  constructor({ label, question, run }) {
    this.label = label;
    const act = withErrorToast(run);
    this.element = button({ label, kind: "quiet", onclick: () => {
      if (this.#timer) return (this.#ask(""), void act());
      this.#ask(question());
    } });
    this.element.addEventListener("blur", () => this.#ask(""));
  }

  /** @param {string} question  empty: do not ask any more */
  #ask(question) {
    clearTimeout(this.#timer);
    this.#timer = question ? setTimeout(() => this.#ask(""), SURE_TIME) : undefined;
    this.element.classList.toggle("sl-sure", !!question);
    this.element.children[0].textContent = question || this.label;
  }
}

/** @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
