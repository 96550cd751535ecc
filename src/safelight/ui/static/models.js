// Models: what draws, what judges and what enlarges; what is in memory, and what a checkpoint of the hub would need.

import { get, post } from "./core/api.js";
import { button, fill, h } from "./core/dom.js";
import { number, t } from "./core/text.js";
import { complain, toast, watched } from "./core/toast.js";
import { whileVisible } from "./core/visible.js";
import { hubForm } from "./models/hub.js";
import { row } from "./models/row.js";

/**
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").Failure & {checkpoint: string, time: string}} LoadFailure
 * @typedef {{name: string, state?: string, loading?: string | null, last_error?: LoadFailure | null}} Worker
 * @typedef {{load: boolean, workers: string[], before: Map<string, string>, silent: number}} Order
 *   who heard it, when each of them last failed before, and how often since nobody was about to do it
 */

const SECTIONS = /** @type {const} */ (["checkpoint", "classifier", "upscaler"]);
const EVERY = 1; // seconds, while something is being loaded
const PATIENCE = 10; // looks in which a worker says nothing of an order, until it must have been started anew and lost it

/**
 * @param {HTMLElement} root
 * @param {import("./types").Studio} studio
 */
export function mount(root, studio) {
  new Models(root, studio);
}

class Models {
  /** @type {Model[] | null} */
  #models = null;
  /** @type {Worker[]} */
  #workers = [];
  /** What workers were told and have not done yet, by checkpoint. @type {Map<string, Order>} */
  #orders = new Map();
  /** Why a checkpoint could not be loaded. @type {Map<string, LoadFailure>} */
  #failures = new Map();
  #shown = "";

  /** @param {HTMLElement} root @param {import("./types").Studio} studio */
  constructor(root, studio) {
    this.studio = studio;
    this.list = h("div", { class: "sl-models-list" }, h("p", { class: "sl-hint", role: "status" }, t("models.loading")));
    this.news = h("p", { class: "sl-hidden", role: "status" });
    root.classList.add("sl-models");
    fill(root, this.news, this.list, hubForm());
    this.look = whileVisible(root, () => this.#look(), () => (this.#orders.size || this.#workers.some(({ loading }) => loading) ? EVERY : Infinity));
  }

  /** Ask what there is. */
  async #look() {
    try {
      const [{ data }, { workers }] = await Promise.all([get("/v1/models"), get("/v1/system")]);
      this.#models = data;
      this.#workers = workers;
    } catch (error) {
      if (!this.#models) this.#showFailure();
      this.#orders.clear();
      return complain(error);
    }
    for (const [id, order] of this.#orders) if (this.#isDone(id, order)) this.#orders.delete(id);
    this.#show();
  }

  /** Whether everybody has done as they were told, said why not, or died. @param {string} id @param {Order} order */
  #isDone(id, order) {
    const holders = this.#models?.find((model) => model.id === id)?.loaded_by ?? [];
    if (!order.load) return order.workers.every((name) => !holders.includes(name));
    const here = this.#workers.filter(({ name }) => order.workers.includes(name));
    const failed = here.filter(({ name, last_error }) => last_error?.checkpoint === id && last_error.time !== order.before.get(name));
    const open = here.filter((worker) => !failed.includes(worker) && !holders.includes(worker.name));
    order.silent = open.some(({ loading, state }) => loading || state === "starting") ? 0 : order.silent + 1;
    if (open.length && order.silent <= PATIENCE) return false;
    const failure = failed[0]?.last_error ?? (holders.length ? null : lost(id));
    if (failure) this.#failures.set(id, failure);
    this.news.textContent = t(failure ? "models.failed" : "models.loaded", { name: id });
    return true;
  }

  /** @param {string | null} id  null: all there are @param {boolean} load */
  async #order(id, load) {
    const before = new Map(this.#workers.map(({ name, last_error }) => [name, last_error?.time ?? ""]));
    const answer = await post(`/v1/models/${load ? "load" : "unload"}`, { checkpoint: id });
    const workers = answer.workers ?? this.#workers.map(({ name }) => name);
    if (!workers.length) return toast(t("models.nobody"), { kind: "error" });
    const ids = id === null ? this.#loaded().map((model) => model.id) : [id];
    for (const each of ids) {
      this.#failures.delete(each);
      this.#orders.set(each, { load, workers, before, silent: 0 });
    }
    this.#show();
    this.look();
  }

  #loaded() {
    return (this.#models ?? []).filter(({ loaded_by }) => loaded_by.length);
  }

  /** @param {string} id @returns {import("./models/row.js").State} */
  #state(id) {
    const order = this.#orders.get(id);
    if (order) return order.load ? "loading" : "unloading";
    return this.#workers.some(({ loading }) => loading === id) ? "loading" : "resting";
  }

  #show() {
    const models = this.#models ?? [];
    const now = JSON.stringify([models, models.map(({ id }) => [this.#state(id), this.#failures.get(id)])]);
    if (now === this.#shown) return; // so that a button that is looked at or pressed stays the same button
    this.#shown = now;
    const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.does : undefined;
    fill(this.list, SECTIONS.map((kind) => this.#section(kind, models.filter((model) => model.kind === kind))));
    if (focus && document.activeElement === document.body) this.#refocus(focus);
  }

  /** @param {string} does */
  #refocus(does) {
    const same = [...this.list.querySelectorAll("button")].find((each) => each.dataset.does === does && !each.disabled);
    same?.focus({ preventScroll: true });
  }

  /** @param {(typeof SECTIONS)[number]} kind @param {Model[]} models */
  #section(kind, models) {
    const admin = this.studio.me.role === "admin";
    const several = kind === "checkpoint" && admin && this.#loaded().length > 1;
    return h(
      "section",
      { "aria-labelledby": `sl-models-${kind}` },
      h("header", {},
        h("h2", { id: `sl-models-${kind}` }, t(`models.${kind}`), " ", h("span", {}, number(models.length))),
        several && button({ label: t("models.unload_all"), kind: "quiet", onclick: watched(() => this.#order(null, false)) })),
      h("p", { class: "sl-hint" }, t(`models.${kind}.hint`)),
      models.length
        ? h("ul", {}, models.map((model) => row(model, {
            admin, state: this.#state(model.id), failure: this.#failures.get(model.id) ?? null,
            order: watched((load) => this.#order(model.id, load)), use: () => this.#use(model.id) })))
        : h("p", { class: "sl-models-none" }, t(`models.${kind}.none`)),
    );
  }

  #showFailure() {
    fill(
      this.list,
      h("div", { class: "sl-empty" }, h("h3", {}, t("models.unread")), h("p", {}, t("models.unread.more")),
        button({ icon: "reuse", label: t("models.again"), onclick: () => this.look() })),
    );
  }

  /** @param {string} checkpoint */
  #use(checkpoint) {
    dispatchEvent(new CustomEvent("sl:checkpoint", { detail: checkpoint }));
    this.studio.show("create");
  }
}

/** A load of which nobody can say any more what became of it. @param {string} checkpoint @returns {LoadFailure} */
const lost = (checkpoint) => ({ checkpoint, time: "", code: "page.lost", message: t("models.failed", { name: checkpoint }) });
