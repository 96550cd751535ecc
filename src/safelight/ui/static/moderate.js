// Moderate: files of the user's own are judged, and the thresholds can be tried out on them.

import { fill, h, icon } from "./core/dom.js";
import { number, t } from "./core/text.js";
import { complain, toast, watched } from "./core/toast.js";
import { Batches } from "./moderate/batches.js";
import { Card } from "./moderate/card.js";
import { dropped } from "./moderate/files.js";
import { Heat } from "./moderate/heat.js";
import { judged } from "./moderate/judged.js";
import { PolicyPanel } from "./moderate/policy_panel.js";
import { asCsv, asJsonLines, rows, save } from "./moderate/report.js";
import { Thumbnails } from "./moderate/thumbnails.js";
import { makeView } from "./moderate/view.js";

/** @typedef {import("./moderate/batches.js").Item} Item */

const NEAR = "800px"; // how far from the window cards are filled
const SETTLES = 400; // milliseconds between two sortings while verdicts come in

/**
 * @param {HTMLElement} root
 * @param {import("./types").Studio} _studio
 */
export function mount(root, _studio) {
  new Moderate(root);
}

class Moderate {
  /** @type {Card[]} */
  #cards = [];
  /** @type {Map<Item, Card>} */
  #of = new Map();
  /** @type {Map<Element, Card>} */
  #at = new Map();
  /** @type {import("./moderate/view.js").Filter} */
  #filter = "all";
  #order = "added";
  #waits = 0;
  #thumbnails = new Thumbnails();
  #heat = new Heat(() => this.#heatMissing());
  #sorting = 0;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    root.classList.add("sl-moderate");
    this.panel = new PolicyPanel(h("aside", { "aria-label": t("moderate.policy") }), () => this.#decide());
    this.batches = new Batches(() => this.panel.asked, {
      changed: (items) => this.#changed(items),
      waits: (seconds) => ((this.#waits = seconds), this.#showProgress()),
      ended: (error) => this.#ended(error),
    });
    this.observer = new IntersectionObserver((entries) => this.#near(entries), { rootMargin: NEAR });
    this.view = makeView({
      add: (given) => this.#add(given),
      stop: () => this.batches.stop(),
      goOn: () => this.#goOn(),
      retry: () => this.#retry(),
      choose: (name) => this.#choose(name),
      sort: (order) => ((this.#order = order), this.#sort()),
      save: (form) => this.#save(form),
      clear: () => this.#clear(),
    });
    fill(root, this.view.main, this.panel.root);
    this.ready = this.panel.load();
    this.#showAll();
    root.addEventListener("dragover", (event) => this.#drag(event));
    root.addEventListener("dragleave", (event) => !root.contains(/** @type {Node | null} */ (event.relatedTarget)) && root.classList.remove("sl-dragging"));
    root.addEventListener("drop", watched((event) => this.#drop(event)));
    document.addEventListener("paste", watched((event) => this.#paste(event)));
  }

  // Files in

  /** @param {DragEvent} event */
  #drag(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.root.classList.add("sl-dragging");
  }

  /** @param {DragEvent} event */
  async #drop(event) {
    this.root.classList.remove("sl-dragging");
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    await this.#add(await dropped(event.dataTransfer));
  }

  /** @param {ClipboardEvent} event */
  async #paste(event) {
    if (!this.root.checkVisibility() || !event.clipboardData?.types.includes("Files")) return;
    event.preventDefault();
    await this.#add(await dropped(event.clipboardData));
  }

  /** @param {{files: import("./moderate/files.js").Named[], skipped: number}} given */
  async #add({ files, skipped }) {
    if (!(await this.ready)) {
      this.ready = this.panel.policy ? Promise.resolve(true) : this.panel.load();
      if (!(await this.ready)) return;
    }
    const here = new Set(this.#cards.map(({ item }) => identity(item)));
    const fresh = files.filter((each) => !here.has(identity(each)));
    if (files.length > fresh.length) toast(t("moderate.twice", { n: files.length - fresh.length }));
    if (skipped) toast(t("moderate.skipped", { n: skipped }));
    const items = fresh.map(({ name, file }) => /** @type {Item} */ ({ name, file, state: "waiting", verdict: null, failure: null }));
    for (const item of items) {
      const card = new Card(item, { thumbnails: this.#thumbnails, heat: this.#heat });
      this.#cards.push(card);
      this.#of.set(item, card);
      this.#at.set(card.element, card);
      this.observer.observe(card.element);
    }
    this.view.list.append(...items.map((item) => /** @type {Card} */ (this.#of.get(item)).element));
    this.batches.add(items);
    this.#showAll();
  }

  #goOn() {
    void this.batches.run();
    this.#showAll();
  }

  #retry() {
    const failed = this.#cards.map(({ item }) => item).filter((item) => item.failure);
    for (const item of failed) Object.assign(item, { state: "waiting", failure: null, verdict: null });
    this.#changed(failed);
    this.batches.add(failed);
    this.#showAll();
  }

  #clear() {
    this.batches.clear();
    this.observer.disconnect();
    this.#cards = [];
    this.#of.clear();
    this.#at.clear();
    this.view.list.replaceChildren();
    this.#thumbnails.clear();
    this.#heat.clear();
    this.#filter = "all";
    this.#showAll();
  }

  // Verdicts

  /** @param {Item[]} items */
  #changed(items) {
    for (const { verdict } of items) if (verdict && !verdict.error) this.panel.know(Object.keys(verdict.scores));
    const policy = this.panel.policy;
    if (policy) for (const item of items) this.#of.get(item)?.show(policy, true);
    this.#showAll();
    if (this.#order === "added" || this.#sorting) return;
    this.#sorting = setTimeout(() => ((this.#sorting = 0), this.#sort()), SETTLES);
  }

  /** Decide anew about everything. */
  #decide() {
    const policy = this.panel.policy;
    if (!policy) return;
    for (const card of this.#cards) card.show(policy);
    this.#showAll();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #near(entries) {
    for (const { target, isIntersecting } of entries) {
      const card = this.#at.get(target);
      if (!card) continue;
      card.near = isIntersecting;
      if (isIntersecting && this.panel.policy) card.show(this.panel.policy, !target.firstChild);
    }
  }

  /** @param {import("./core/api.js").ApiError | null} error */
  #ended(error) {
    this.#waits = 0;
    if (error) complain(error);
    this.#showAll();
    const { all, review, block, error: failed } = this.#counts();
    if (all && !this.batches.waiting) this.view.news.textContent = t("moderate.done", { n: all, review, block, failed });
  }

  // What is shown

  #counts() {
    const counts = { all: 0, allow: 0, review: 0, block: 0, error: 0, open: 0 };
    const policy = this.panel.policy;
    for (const { item, element } of this.#cards) {
      const found = policy && judged(item, policy);
      counts.all += 1;
      counts[found ? found.decision : "open"] += 1;
      const hidden = this.#filter !== "all" && found?.decision !== this.#filter;
      if (element.hidden !== hidden) element.hidden = hidden;
    }
    return counts;
  }

  #showAll() {
    const counts = this.#counts();
    const any = counts.all > 0;
    this.root.classList.toggle("sl-is-empty", !any);
    this.view.tools.hidden = this.view.progress.hidden = !any;
    for (const [name, chip] of this.view.chips) {
      fill(chip, t(name === "all" ? "moderate.all" : `decision.${name}`), h("b", {}, number(counts[name])));
      chip.setAttribute("aria-pressed", String(name === this.#filter));
    }
    this.view.none.hidden = !any || this.#filter === "all" || counts[this.#filter] > 0;
    this.#showProgress(counts);
  }

  #showProgress(counts = this.#counts()) {
    const done = counts.all - counts.open;
    const running = this.batches.running;
    this.view.meter.max = counts.all || 1;
    this.view.meter.value = done;
    this.view.meter.hidden = counts.open === 0;
    const says = { done: number(done), all: number(counts.all) };
    this.view.line.textContent = this.#waits
      ? t("moderate.waits", { ...says, seconds: this.#waits })
      : t(running || !counts.open ? "moderate.so_far" : "moderate.stopped", says);
    this.view.stop.hidden = !running;
    this.view.goOn.hidden = running || !this.batches.waiting;
    const failed = this.#cards.filter(({ item }) => item.failure).length;
    this.view.retry.hidden = running || !failed;
    fill(this.view.retry, icon("reuse"), t("moderate.retry", { n: failed }));
  }

  /** @param {import("./moderate/view.js").Filter} name */
  #choose(name) {
    this.#filter = name;
    this.#showAll();
  }

  /** Put the cards into their order, where it is another than before. */
  #sort() {
    const policy = this.panel.policy;
    const score = new Map(this.#cards.map((card) => [card, (policy && judged(card.item, policy)?.unsafe) ?? -1]));
    const of = (/** @type {Card} */ card) => score.get(card) ?? -1;
    const sorted = [...this.#cards];
    if (this.#order === "highest") sorted.sort((one, other) => of(other) - of(one));
    if (this.#order === "lowest") sorted.sort((one, other) => of(one) - of(other));
    if (this.#order === "name") sorted.sort((one, other) => one.item.name.localeCompare(other.item.name, undefined, { numeric: true }));
    if (sorted.every(({ element }, index) => this.view.list.children[index] === element)) return;
    const focus = document.activeElement;
    this.view.list.replaceChildren(...sorted.map(({ element }) => element));
    if (focus instanceof HTMLElement && this.view.list.contains(focus)) focus.focus({ preventScroll: true });
  }

  #heatMissing() {
    this.view.cold.textContent = t("moderate.heat.missing", { why: this.#heat.missing ?? "" });
    this.view.cold.hidden = false;
    const policy = this.panel.policy;
    if (policy) for (const card of this.#cards) card.show(policy, true);
  }

  /** @param {"csv" | "jsonl"} form */
  #save(form) {
    const { policy, base } = this.panel;
    if (!policy) return;
    const report = rows(this.#cards.map(({ item }) => item), policy, base);
    if (!report.length) return toast(t("moderate.nothing_yet"));
    const name = `safelight-moderation.${form}`;
    if (form === "csv") save(asCsv(report), name, "text/csv");
    else save(asJsonLines(report), name, "application/x-ndjson");
  }
}

/** What tells one file from another. @param {import("./moderate/files.js").Named} named */
const identity = ({ name, file }) => `${name}\n${file.size}\n${file.lastModified}`;
