// The running and waiting jobs.

import { request } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { formatDuration, formatNumber, formatPercent, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";

/** @typedef {import("../types").Job} Job */

const MAX_ROWS = 100; // only the number of further jobs is shown

/** @param {import("../types").PageContext} context */
export function queueView({ jobStore, me }) {
  const body = h("div", {});
  const element = h("section", { "aria-labelledby": "sl-system-queue" }, h("h2", { id: "sl-system-queue" }, t("system.queue")), body);
  /** @type {Map<string, {element: HTMLElement, show: (job: Job) => void}>} */
  const rows = new Map();
  const list = h("ul", { class: "sl-system-queue" });
  const more = h("p", { class: "sl-hint" });
  let frame = 0;

  async function render() {
    const open = jobStore.newestFirst().filter((job) => !isFinished(job)).sort(byPosition);
    const shown = open.slice(0, MAX_ROWS);
    for (const [id, row] of rows) if (!shown.some((job) => job.id === id)) (row.element.remove(), rows.delete(id));
    shown.forEach((job, index) => {
      const row = rows.get(job.id) ?? makeRow(job, me.role === "admin");
      rows.set(job.id, row);
      row.show(job);
      if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
    });
    pausedNote.hidden = !jobStore.paused;
    more.textContent = open.length > MAX_ROWS ? t("system.queue.more", { n: open.length - MAX_ROWS }) : "";
    const content = shown.length ? list : jobStore.connected ? emptyNote : offlineNote;
    if (body.children[1] !== content) setChildren(body, pausedNote, content, more);
  }
  const pausedNote = h("p", { class: "sl-system-none" }, t(me.role === "admin" ? "queue.paused.says" : "queue.paused.others"));
  const emptyNote = h("p", { class: "sl-system-none" }, t("system.queue.none"));
  const offlineNote = h("p", { class: "sl-system-none" }, t("system.queue.lost"));
  void render();
  const refresh = whileVisible(element, render, () => Infinity);
  jobStore.subscribe(({ type }) => {
    if (type !== "preview") frame ||= requestAnimationFrame(() => ((frame = 0), refresh())); // requestAnimationFrame waits while the page is hidden
  });
  return element;
}

/** @param {Job} job @param {boolean} admin */
function makeRow(job, admin) {
  const title = job.request.prompt || t(`system.kind.${job.kind}`);
  const state = h("span", { class: "sl-system-place" });
  const etaText = h("span", { class: "sl-system-eta" });
  const meter = h("progress", { max: 1, "aria-label": t("system.queue.progress", { what: title }) });
  const cancel = withErrorToast(async () => {
    stop.disabled = true;
    try {
      await request("DELETE", `/v1/jobs/${job.id}`);
    } catch (error) {
      stop.disabled = false;
      throw error;
    }
  });
  const stop = button({ icon: "close", label: t("system.queue.cancel", { what: title }), iconOnly: true, onclick: cancel });
  const element = h("li", {}, state,
    h("span", { class: "sl-system-what" }, h("span", { title: title }, title), h("small", {}, t(`system.kind.${job.kind}`), admin && ` · ${job.owner}`)),
    meter, etaText, stop);
  return {
    element,
    /** @param {Job} job */
    show({ state: now, position, progress, eta: seconds }) {
      state.textContent = now === "running" ? t("system.queue.running") : position === null ? t("system.queue.waits") : t("system.queue.place", { place: formatNumber(position) });
      meter.hidden = now !== "running";
      if (progress) meter.value = progress.fraction;
      else meter.removeAttribute("value");
      etaText.textContent = seconds === null ? (progress ? formatPercent(progress.fraction) : "") : t("system.queue.eta", { time: formatDuration(seconds) });
    },
  };
}

/** Running jobs first, then by position in the queue. @param {Job} one @param {Job} other */
function byPosition(one, other) {
  if (one.state !== other.state) return one.state === "running" ? -1 : 1;
  return (one.position ?? Infinity) - (other.position ?? Infinity) || (one.created < other.created ? -1 : 1);
}
