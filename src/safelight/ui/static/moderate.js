// The Moderate tab: judge local files, and try other thresholds on the results.

import { h, icon, setChildren } from "./core/dom.js";
import { formatNumber, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { makeView } from "./moderate/elements.js";
import { evaluate } from "./moderate/evaluation.js";
import { filesFromTransfer } from "./moderate/files.js";
import { HeatMaps } from "./moderate/heat_maps.js";
import { PolicyPanel } from "./moderate/policy_panel.js";
import { asCsv, asJsonLines, downloadText, reportRows } from "./moderate/report.js";
import { Thumbnails } from "./moderate/thumbnails.js";
import { UploadQueue } from "./moderate/upload_queue.js";
import { VerdictCard } from "./moderate/verdict_card.js";

/** @typedef {import("./moderate/upload_queue.js").Item} Item */

const RENDER_MARGIN = "800px"; // distance from the window in which cards are rendered
const SORT_INTERVAL = 400; // milliseconds between two sorts while verdicts arrive

/**
 * @param {HTMLElement} root
 * @param {import("./types").PageContext} _context
 */
export function mount(root, _context) {
  new Moderate(root);
}

class Moderate {
  /** @type {VerdictCard[]} */
  #cards = [];
  /** @type {Map<Item, VerdictCard>} */
  #cardOfItem = new Map();
  /** @type {Map<Element, VerdictCard>} */
  #cardOfElement = new Map();
  /** @type {import("./moderate/elements.js").Filter} */
  #filter = "all";
  #order = "added";
  #retrySeconds = 0;
  #thumbnails = new Thumbnails();
  #heatMaps = new HeatMaps(() => this.#onHeatMapsUnsupported());
  #sortTimer = 0;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    root.classList.add("sl-moderate");
    this.panel = new PolicyPanel(h("aside", { "aria-label": t("moderate.policy") }), () => this.#applyPolicy());
    this.batches = new UploadQueue(() => this.panel.requestName, {
      changed: (items) => this.#onItemsChanged(items),
      retryAfter: (seconds) => ((this.#retrySeconds = seconds), this.#showProgress()),
      ended: (error) => this.#onEnded(error),
    });
    this.observer = new IntersectionObserver((entries) => this.#onIntersect(entries), { rootMargin: RENDER_MARGIN });
    this.view = makeView({
      add: (given) => this.#add(given),
      stop: () => this.batches.stop(),
      resume: () => this.#resume(),
      retry: () => this.#retry(),
      setFilter: (name) => this.#setFilter(name),
      sort: (order) => ((this.#order = order), this.#sort()),
      save: (form) => this.#save(form),
      clear: () => this.#clear(),
    });
    setChildren(root, this.view.main, this.panel.root);
    this.ready = this.panel.load();
    this.#render();
    root.addEventListener("dragover", (event) => this.#onDragOver(event));
    root.addEventListener("dragleave", (event) => !root.contains(/** @type {Node | null} */ (event.relatedTarget)) && root.classList.remove("sl-dragging"));
    root.addEventListener("drop", withErrorToast((event) => this.#onDrop(event)));
    document.addEventListener("paste", withErrorToast((event) => this.#onPaste(event)));
  }

  // Files

  /** @param {DragEvent} event */
  #onDragOver(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.root.classList.add("sl-dragging");
  }

  /** @param {DragEvent} event */
  async #onDrop(event) {
    this.root.classList.remove("sl-dragging");
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    await this.#add(await filesFromTransfer(event.dataTransfer));
  }

  /** @param {ClipboardEvent} event */
  async #onPaste(event) {
    if (!this.root.checkVisibility() || !event.clipboardData?.types.includes("Files")) return;
    event.preventDefault();
    await this.#add(await filesFromTransfer(event.clipboardData));
  }

  /** @param {{files: import("./moderate/files.js").NamedFile[], skipped: number}} given */
  async #add({ files, skipped }) {
    if (!(await this.ready)) {
      this.ready = this.panel.policy ? Promise.resolve(true) : this.panel.load();
      if (!(await this.ready)) return;
    }
    const listed = new Set(this.#cards.map(({ item }) => identity(item)));
    const fresh = files.filter((each) => !listed.has(identity(each)));
    if (files.length > fresh.length) toast(t("moderate.twice", { n: files.length - fresh.length }));
    if (skipped) toast(t("moderate.skipped", { n: skipped }));
    const items = fresh.map(({ name, file }) => /** @type {Item} */ ({ name, file, state: "waiting", verdict: null, failure: null }));
    for (const item of items) {
      const card = new VerdictCard(item, { thumbnails: this.#thumbnails, heatMaps: this.#heatMaps });
      this.#cards.push(card);
      this.#cardOfItem.set(item, card);
      this.#cardOfElement.set(card.element, card);
      this.observer.observe(card.element);
    }
    this.view.list.append(...items.map((item) => /** @type {VerdictCard} */ (this.#cardOfItem.get(item)).element));
    this.batches.add(items);
    this.#render();
  }

  #resume() {
    void this.batches.run();
    this.#render();
  }

  #retry() {
    const failed = this.#cards.map(({ item }) => item).filter((item) => item.failure);
    for (const item of failed) Object.assign(item, { state: "waiting", failure: null, verdict: null });
    this.#onItemsChanged(failed);
    this.batches.add(failed);
    this.#render();
  }

  #clear() {
    this.batches.clear();
    this.observer.disconnect();
    this.#cards = [];
    this.#cardOfItem.clear();
    this.#cardOfElement.clear();
    this.view.list.replaceChildren();
    this.#thumbnails.clear();
    this.#heatMaps.clear();
    this.#filter = "all";
    this.#render();
  }

  // Verdicts

  /** @param {Item[]} items */
  #onItemsChanged(items) {
    for (const { verdict } of items) if (verdict && !verdict.error) this.panel.addLabels(Object.keys(verdict.scores));
    const policy = this.panel.policy;
    if (policy) for (const item of items) this.#cardOfItem.get(item)?.show(policy, true);
    this.#render();
    if (this.#order === "added" || this.#sortTimer) return;
    this.#sortTimer = setTimeout(() => ((this.#sortTimer = 0), this.#sort()), SORT_INTERVAL);
  }

  /** Apply the policy to all cards. */
  #applyPolicy() {
    const policy = this.panel.policy;
    if (!policy) return;
    for (const card of this.#cards) card.show(policy);
    this.#render();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onIntersect(entries) {
    for (const { target, isIntersecting } of entries) {
      const card = this.#cardOfElement.get(target);
      if (!card) continue;
      card.near = isIntersecting;
      if (isIntersecting && this.panel.policy) card.show(this.panel.policy, !target.firstChild);
    }
  }

  /** @param {import("./core/api.js").ApiError | null} error */
  #onEnded(error) {
    this.#retrySeconds = 0;
    if (error) showError(error);
    this.#render();
    const { all, review, block, error: failed } = this.#counts();
    if (all && !this.batches.waiting) this.view.liveRegion.textContent = t("moderate.done", { n: all, review, block, failed });
  }

  // Rendering

  #counts() {
    const counts = { all: 0, allow: 0, review: 0, block: 0, error: 0, open: 0 };
    const policy = this.panel.policy;
    for (const { item, element } of this.#cards) {
      const evaluation = policy && evaluate(item, policy);
      counts.all += 1;
      counts[evaluation ? evaluation.decision : "open"] += 1;
      const hidden = this.#filter !== "all" && evaluation?.decision !== this.#filter;
      if (element.hidden !== hidden) element.hidden = hidden;
    }
    return counts;
  }

  #render() {
    const counts = this.#counts();
    const any = counts.all > 0;
    this.root.classList.toggle("sl-is-empty", !any);
    this.view.tools.hidden = this.view.progress.hidden = !any;
    for (const [name, chip] of this.view.chips) {
      setChildren(chip, t(name === "all" ? "moderate.all" : `decision.${name}`), h("b", {}, formatNumber(counts[name])));
      chip.setAttribute("aria-pressed", String(name === this.#filter));
    }
    this.view.noMatchNote.hidden = !any || this.#filter === "all" || counts[this.#filter] > 0;
    this.#showProgress(counts);
  }

  #showProgress(counts = this.#counts()) {
    const done = counts.all - counts.open;
    const running = this.batches.running;
    this.view.meter.max = counts.all || 1;
    this.view.meter.value = done;
    this.view.meter.hidden = counts.open === 0;
    const values = { done: formatNumber(done), all: formatNumber(counts.all) };
    this.view.progressText.textContent = this.#retrySeconds
      ? t("moderate.waits", { ...values, seconds: this.#retrySeconds })
      : t(running || !counts.open ? "moderate.so_far" : "moderate.stopped", values);
    this.view.stop.hidden = !running;
    this.view.resume.hidden = running || !this.batches.waiting;
    const failed = this.#cards.filter(({ item }) => item.failure).length;
    this.view.retry.hidden = running || !failed;
    setChildren(this.view.retry, icon("reuse"), t("moderate.retry", { n: failed }));
  }

  /** @param {import("./moderate/elements.js").Filter} name */
  #setFilter(name) {
    this.#filter = name;
    this.#render();
  }

  /** Sort the cards, if their order has changed. */
  #sort() {
    const policy = this.panel.policy;
    const scores = new Map(this.#cards.map((card) => [card, (policy && evaluate(card.item, policy)?.unsafe) ?? -1]));
    const scoreOf = (/** @type {VerdictCard} */ card) => scores.get(card) ?? -1;
    const sorted = [...this.#cards];
    if (this.#order === "highest") sorted.sort((one, other) => scoreOf(other) - scoreOf(one));
    if (this.#order === "lowest") sorted.sort((one, other) => scoreOf(one) - scoreOf(other));
    if (this.#order === "name") sorted.sort((one, other) => one.item.name.localeCompare(other.item.name, undefined, { numeric: true }));
    if (sorted.every(({ element }, index) => this.view.list.children[index] === element)) return;
    const focus = document.activeElement;
    this.view.list.replaceChildren(...sorted.map(({ element }) => element));
    if (focus instanceof HTMLElement && this.view.list.contains(focus)) focus.focus({ preventScroll: true });
  }

  #onHeatMapsUnsupported() {
    this.view.heatMapNote.textContent = t("moderate.heat.missing", { why: this.#heatMaps.unsupported ?? "" });
    this.view.heatMapNote.hidden = false;
    const policy = this.panel.policy;
    if (policy) for (const card of this.#cards) card.show(policy, true);
  }

  /** @param {"csv" | "jsonl"} format */
  #save(format) {
    const { policy, base } = this.panel;
    if (!policy) return;
    const report = reportRows(this.#cards.map(({ item }) => item), policy, base);
    if (!report.length) return toast(t("moderate.nothing_yet"));
    const name = `safelight-moderation.${format}`;
    if (format === "csv") downloadText(asCsv(report), name, "text/csv");
    else downloadText(asJsonLines(report), name, "application/x-ndjson");
  }
}

/** Identifies a file. @param {import("./moderate/files.js").NamedFile} named */
const identity = ({ name, file }) => `${name}\n${file.size}\n${file.lastModified}`;
