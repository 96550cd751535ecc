// The jobs that run or wait, as they are at this moment.

import { request } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { isOver } from "../core/live.js";
import { duration, number, percent, t } from "../core/text.js";
import { watched } from "../core/toast.js";
import { whileVisible } from "../core/visible.js";

/** @typedef {import("../types").Job} Job */

const MOST = 100; // rows; of more, only how many there are

/** @param {import("../types").Studio} studio */
export function queueView({ live, me }) {
  const body = h("div", {});
  const element = h("section", { "aria-labelledby": "sl-system-queue" }, h("h2", { id: "sl-system-queue" }, t("system.queue")), body);
  /** @type {Map<string, {element: HTMLElement, show: (job: Job) => void}>} */
  const rows = new Map();
  const list = h("ul", { class: "sl-system-queue" });
  const more = h("p", { class: "sl-hint" });
  let due = 0;

  async function show() {
    const open = live.newest().filter((job) => !isOver(job)).sort(byPlace);
    const shown = open.slice(0, MOST);
    for (const [id, row] of rows) if (!shown.some((job) => job.id === id)) (row.element.remove(), rows.delete(id));
    shown.forEach((job, place) => {
      const row = rows.get(job.id) ?? makeRow(job, me.role === "admin");
      rows.set(job.id, row);
      row.show(job);
      if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
    });
    more.textContent = open.length > MOST ? t("system.queue.more", { n: open.length - MOST }) : "";
    const wanted = shown.length ? list : live.open ? idle : lost;
    if (body.firstChild !== wanted) fill(body, wanted, more);
  }
  const idle = h("p", { class: "sl-system-none" }, t("system.queue.none"));
  const lost = h("p", { class: "sl-system-none" }, t("system.queue.lost"));
  void show();
  const look = whileVisible(element, show, () => Infinity);
  live.listen(({ type }) => {
    if (type !== "preview") due ||= requestAnimationFrame(() => ((due = 0), look())); // which waits while the page is hidden
  });
  return element;
}

/** @param {Job} job @param {boolean} admin */
function makeRow(job, admin) {
  const what = job.request.prompt || t(`system.kind.${job.kind}`);
  const state = h("span", { class: "sl-system-place" });
  const eta = h("span", { class: "sl-system-eta" });
  const meter = h("progress", { max: 1, "aria-label": t("system.queue.progress", { what }) });
  const cancel = watched(async () => {
    stop.disabled = true;
    try {
      await request("DELETE", `/v1/jobs/${job.id}`);
    } catch (error) {
      stop.disabled = false;
      throw error;
    }
  });
  const stop = button({ icon: "close", label: t("system.queue.cancel", { what }), bare: true, onclick: cancel });
  const element = h("li", {}, state,
    h("span", { class: "sl-system-what" }, h("span", { title: what }, what), h("small", {}, t(`system.kind.${job.kind}`), admin && ` · ${job.owner}`)),
    meter, eta, stop);
  return {
    element,
    /** @param {Job} job */
    show({ state: now, position, progress, eta: seconds }) {
      state.textContent = now === "running" ? t("system.queue.running") : position === null ? t("system.queue.waits") : t("system.queue.place", { place: number(position) });
      meter.hidden = now !== "running";
      if (progress) meter.value = progress.fraction;
      else meter.removeAttribute("value");
      eta.textContent = seconds === null ? (progress ? percent(progress.fraction) : "") : t("system.queue.eta", { time: duration(seconds) });
    },
  };
}

/** Running ones first, then by their place. @param {Job} one @param {Job} other */
function byPlace(one, other) {
  if (one.state !== other.state) return one.state === "running" ? -1 : 1;
  return (one.position ?? Infinity) - (other.position ?? Infinity) || (one.created < other.created ? -1 : 1);
}
