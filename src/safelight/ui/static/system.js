// The System tab: the machine and the state of the server, refreshed while the tab is visible.

import { get } from "./core/api.js";
import { button, h, setChildren } from "./core/dom.js";
import { formatBytes, formatDuration, formatNumber, t } from "./core/text.js";
import { showError } from "./core/toast.js";
import { whileVisible } from "./core/while_visible.js";
import { logView } from "./system/log.js";
import { memoryView } from "./system/memory.js";
import { planView } from "./system/plan.js";
import { queueView } from "./system/queue.js";
import { workerCard } from "./system/worker.js";

/**
 * @typedef {import("./system/worker.js").Worker} Worker
 * @typedef {object} System
 * @property {string} version
 * @property {Record<string, string | null>} versions
 * @property {string} classifier
 * @property {string} policy
 * @property {{processor: string, cores: number, memory: number, features: string[]}} [machine]
 * @property {Worker[]} workers
 * @property {Record<string, number>} jobs
 * @property {{max_pixels: number, max_bytes: number, max_frames: number, queue_capacity: number, job_retention: number}} limits
 */

const POLL_INTERVAL = 3; // seconds

/**
 * @param {HTMLElement} root
 * @param {import("./types").PageContext} context
 */
export function mount(root, context) {
  const state = h("p", { class: "sl-system-state", role: "status" }, t("system.loading"));
  const retryButton = button({ icon: "reuse", label: t("system.again"), hidden: true, onclick: () => refresh() });
  const machine = h("section", { "aria-labelledby": "sl-system-machine" });
  const workers = h("section", { "aria-labelledby": "sl-system-workers" });
  const facts = h("section", { "aria-labelledby": "sl-system-facts" });
  const memory = memoryView();
  const plan = planView();
  const admin = context.me.role === "admin";
  root.classList.add("sl-system");
  setChildren(root, h("header", {}, state, retryButton), machine, workers, queueView(context), plan.element, memory.element, facts, admin && logView());

  const refresh = whileVisible(
    root,
    async () => {
      try {
        const [system, history] = await Promise.all([get("/v1/system"), get("/v1/system/memory")]);
        retryButton.hidden = true;
        showState(state, system);
        showMachine(machine, system);
        showWorkers(workers, system);
        showFacts(facts, system);
        memory.show(history);
        plan.showPeaks(system.workers);
      } catch (error) {
        if (!retryButton.hidden) return; // reported already; the message stays until a request succeeds
        retryButton.hidden = false;
        setText(state, t("system.unread"));
        showError(error);
      }
    },
    () => POLL_INTERVAL,
  );
}

/** Set a text if it differs, so that screen readers do not announce it again. @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {System} system */
function showState(element, system) {
  const key = system.workers.length ? (system.jobs.running ? "busy" : "idle") : "nobody";
  setText(element, t(`system.state.${key}`, { n: system.workers.length }));
}

/** Rebuild an element if its data has changed. @param {HTMLElement} element @param {unknown} data @param {() => Node[]} build */
function renderIfChanged(element, data, build) {
  const text = JSON.stringify(data);
  if (element.dataset.drawn === text) return;
  element.dataset.drawn = text;
  setChildren(element, build());
}

/** @param {HTMLElement} element @param {System} system */
function showMachine(element, { machine }) {
  renderIfChanged(element, machine ?? null, () => [
    h("h2", { id: "sl-system-machine" }, t("system.machine")),
    machine
      ? pairs([
          ["processor", machine.processor],
          ["cores", formatNumber(machine.cores)],
          ["memory", formatBytes(machine.memory)],
          ["features", machine.features.length ? machine.features.join(", ") : t("system.none")],
        ])
      : h("p", { class: "sl-hint" }, t("system.machine.unknown")),
  ]);
}

/** @param {HTMLElement} element @param {System} system */
function showWorkers(element, { workers }) {
  const rounded = workers.map(({ memory, devices, ...others }) => ({
    ...others,
    memory: Math.round(memory / 1e7),
    devices: devices?.map(({ free, ...each }) => ({ ...each, free: free && Math.round(free / 1e8) })),
  }));
  renderIfChanged(element, rounded, () => [
    h("h2", { id: "sl-system-workers" }, t("system.workers")),
    workers.length
      ? h("div", { class: "sl-system-workers" }, workers.map(workerCard))
      : h("p", { class: "sl-system-none" }, t("system.workers.none")),
  ]);
}

/** @param {HTMLElement} element @param {System} system */
function showFacts(element, { version, versions, classifier, policy, limits }) {
  renderIfChanged(element, [version, versions, classifier, policy, limits], () => [
    h("h2", { id: "sl-system-facts" }, t("system.facts")),
    h(
      "div",
      { class: "sl-system-facts" },
      h("div", {}, h("h3", {}, t("system.versions")),
        pairs([["safelight", version], ...Object.entries(versions).map(([name, value]) => /** @type {Pair} */ ([name, value ?? t("system.absent")]))], false)),
      h("div", {}, h("h3", {}, t("system.judging")), pairs([["classifier", classifier], ["policy", policy]]),
        h("h3", {}, t("system.limits")),
        pairs([
          ["max_pixels", t("system.megapixels", { value: formatNumber(limits.max_pixels / 1e6) })],
          ["max_bytes", formatBytes(limits.max_bytes)],
          ["max_frames", formatNumber(limits.max_frames)],
          ["queue_capacity", formatNumber(limits.queue_capacity)],
          ["job_retention", limits.job_retention >= 2 * 86400 ? t("system.days", { n: Math.round(limits.job_retention / 86400) }) : formatDuration(limits.job_retention)],
        ])),
    ),
  ]);
}

/** @typedef {[name: string, value: string]} Pair */

/** A description list. @param {Pair[]} rows @param {boolean} [named]  whether the names are keys of texts */
const pairs = (rows, named = true) =>
  h("dl", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, named ? t(`system.${name}`) : name), h("dd", {}, value))));
