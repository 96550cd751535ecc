// The queue's button in the header: the number of jobs, their progress, and whether the queue is paused.

import { post } from "../core/api.js";
import { h, icon, setChildren } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { registerEntries } from "../core/palette.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { percentDone } from "../stage/job_status.js";
import { noDialogOpen } from "../viewer/overlay.js";
import { Ring } from "./ring.js";

const MOST = 99; // the largest number that is shown

/** @param {import("../types").PageContext} context */
export function queueButton(context) {
  const { jobStore } = context;
  const ring = new Ring();
  const element = h("button", { type: "button", class: "sl-button sl-queue-button", "aria-expanded": "false", "aria-controls": "sl-queue", onclick: () => withDrawer((drawer) => drawer.toggle()) }, ring.element);
  /** @type {Promise<import("./drawer.js").QueueDrawer> | null} */
  let loaded = null;
  const withDrawer = withErrorToast(async (/** @type {(drawer: import("./drawer.js").QueueDrawer) => void} */ use) => {
    loaded ??= import("./drawer.js").then(({ QueueDrawer }) => new QueueDrawer(context, element));
    use(await loaded);
  });

  const render = () => {
    const { paused } = jobStore;
    const waiting = jobStore.waiting.length;
    const running = [...jobStore.jobs.values()].filter(({ state }) => state === "running");
    const number = running.length + waiting;
    ring.show(running.reduce((sum, job) => sum + percentDone(job) / 100, 0) / (running.length || 1));
    const face = paused ? "pause" : number ? String(Math.min(number, MOST)) : "queue";
    if (ring.content.dataset.face !== face) {
      ring.content.dataset.face = face;
      setChildren(ring.content, face === "pause" || face === "queue" ? icon(face) : face);
    }
    element.classList.toggle("sl-busy", running.length > 0);
    element.classList.toggle("sl-paused", paused);
    const label = [t("queue.title"), paused && t("queue.paused"), running.length && t("queue.runs", { n: running.length }), waiting && t("queue.waits", { n: waiting })].filter(Boolean).join(", ");
    if (element.title === label) return;
    element.title = label;
    element.setAttribute("aria-label", label);
  };
  let frame = 0;
  jobStore.subscribe(({ type }) => {
    if (type !== "preview" && type !== "gallery") frame ||= requestAnimationFrame(() => ((frame = 0), render())); // waits while the page is hidden
  });
  render();

  registerShortcut("q", "keys.queue", () => withDrawer((drawer) => drawer.toggle()), { isActive: noDialogOpen });
  registerEntries(() => {
    const hasOwn = jobStore.waiting.some(({ owner }) => owner === context.me.owner);
    const actions = {
      ...(context.me.role === "admin" && { [jobStore.paused ? "queue.resume.long" : "queue.pause.long"]: withErrorToast(() => jobStore.setPaused(!jobStore.paused)) }),
      ...(hasOwn && { "queue.cancel_all.long": () => withDrawer((drawer) => drawer.focusCancelAll()) }),
      ...(jobStore.newestFirst().some(isFinished) && { "queue.clear.long": withErrorToast(() => post("/v1/jobs/clear", {})) }),
      "queue.notify": () => withDrawer((drawer) => drawer.focusNotices()),
    };
    return Object.entries(actions).map(([key, run]) => ({ key, group: t("queue.title"), run: () => void run() }));
  });
  return element;
}
