// The Models tab: where models come from, checkpoints, classifiers and upscalers, what is in memory; all files and their folders.

import { get, post, read, request } from "./core/api.js";
import { button, h, setChildren } from "./core/dom.js";
import { formatNumber, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { whileVisible } from "./core/while_visible.js";
import { editDefaults } from "./models/defaults.js";
import { filesSection } from "./models/files.js";
import { modelRow } from "./models/row.js";
import { welcome } from "./models/welcome.js";

/**
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").ErrorBody & {checkpoint: string, time: string}} LoadError
 * @typedef {{name: string, state?: string, loading?: string | null, last_error?: LoadError | null}} Worker
 * @typedef {{load: boolean, workers: string[], previousErrors: Map<string, string>, silentPolls: number}} LoadRequest
 *   workers that got the request, the time of each one's last error before, and the number of polls in which none was about to load
 */

const SECTIONS = /** @type {const} */ (["checkpoint", "classifier", "upscaler"]);
const POLL_INTERVAL = 1; // seconds, while a checkpoint is being loaded
const MAX_SILENT_POLLS = 10; // polls without a sign of the request, after which the worker must have restarted and lost it

/**
 * @param {HTMLElement} root
 * @param {import("./types").PageContext} context
 */
export function mount(root, context) {
  new Models(root, context);
}

class Models {
  /** @type {Model[] | null} */
  #models = null;
  /** @type {Worker[]} */
  #workers = [];
  /** Pending requests to load or unload, by checkpoint. @type {Map<string, LoadRequest>} */
  #requests = new Map();
  /** Errors of checkpoints that could not be loaded. @type {Map<string, LoadError>} */
  #errors = new Map();
  #renderedKey = "";

  /** @param {HTMLElement} root @param {import("./types").PageContext} context */
  constructor(root, context) {
    this.context = context;
    this.list = h("div", { class: "sl-models-list" }, h("p", { class: "sl-hint", role: "status" }, t("models.loading")));
    this.liveRegion = h("p", { class: "sl-hidden", role: "status" });
    root.classList.add("sl-models");
    const admin = context.me.role === "admin";
    const files = filesSection(admin, () => this.refresh());
    const onAdded = () => (this.refresh(), files.reload());
    setChildren(root, this.liveRegion, admin ? welcome(root, onAdded) : h("p", { class: "sl-hint" }, t("models.add.by_admin")), this.list, files.element);
    this.refresh = whileVisible(root, () => this.#fetch(), () => (this.#requests.size || this.#workers.some(({ loading }) => loading) ? POLL_INTERVAL : Infinity));
  }

  /** Load the models and the workers' state. */
  async #fetch() {
    try {
      const [{ data }, { workers }] = await Promise.all([get("/v1/models"), get("/v1/system")]);
      this.#models = data;
      dispatchEvent(new CustomEvent("sl:models", { detail: data })); // the Create tab's choices
      this.#workers = workers;
    } catch (error) {
      if (!this.#models) this.#showFailure();
      this.#requests.clear();
      return showError(error);
    }
    for (const [id, request] of this.#requests) if (this.#isDone(id, request)) this.#requests.delete(id);
    this.#render();
  }

  /** Whether every worker has loaded or unloaded the checkpoint, failed, or stopped. @param {string} id @param {LoadRequest} request */
  #isDone(id, request) {
    const loadedBy = this.#models?.find((model) => model.id === id)?.loaded_by ?? [];
    if (!request.load) return request.workers.every((name) => !loadedBy.includes(name));
    const involved = this.#workers.filter(({ name }) => request.workers.includes(name));
    const failed = involved.filter(({ name, last_error }) => last_error?.checkpoint === id && last_error.time !== request.previousErrors.get(name));
    const unfinished = involved.filter((worker) => !failed.includes(worker) && !loadedBy.includes(worker.name));
    request.silentPolls = unfinished.some(({ loading, state }) => loading || state === "starting") ? 0 : request.silentPolls + 1;
    if (unfinished.length && request.silentPolls <= MAX_SILENT_POLLS) return false;
    const failure = failed[0]?.last_error ?? (loadedBy.length ? null : unknownOutcome(id));
    if (failure) this.#errors.set(id, failure);
    this.liveRegion.textContent = t(failure ? "models.failed" : "models.loaded", { name: id });
    return true;
  }

  /** @param {string | null} id  null: all there are @param {boolean} load */
  async #requestLoad(id, load) {
    const before = new Map(this.#workers.map(({ name, last_error }) => [name, last_error?.time ?? ""]));
    const answer = await post(`/v1/models/${load ? "load" : "unload"}`, { checkpoint: id });
    const workers = answer.workers ?? this.#workers.map(({ name }) => name);
    if (!workers.length) return toast(t("models.nobody"), { kind: "error" });
    const ids = id === null ? this.#loaded().map((model) => model.id) : [id];
    for (const each of ids) {
      this.#errors.delete(each);
      this.#requests.set(each, { load, workers, previousErrors: before, silentPolls: 0 });
    }
    this.#render();
    this.refresh();
  }

  #loaded() {
    return (this.#models ?? []).filter(({ loaded_by }) => loaded_by.length);
  }

  /** @param {string} id @returns {import("./models/row.js").State} */
  #stateOf(id) {
    const request = this.#requests.get(id);
    if (request) return request.load ? "loading" : "unloading";
    return this.#workers.some(({ loading }) => loading === id) ? "loading" : "idle";
  }

  #render() {
    const models = this.#models ?? [];
    const now = JSON.stringify([models, models.map(({ id }) => [this.#stateOf(id), this.#errors.get(id)])]);
    if (now === this.#renderedKey) return; // so that a focused button stays the same element
    this.#renderedKey = now;
    const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.command : undefined;
    setChildren(this.list, SECTIONS.map((kind) => this.#section(kind, models.filter((model) => model.kind === kind))));
    if (focus && document.activeElement === document.body) this.#refocus(focus);
  }

  /** @param {string} action */
  #refocus(action) {
    const equivalent = [...this.list.querySelectorAll("button")].find((each) => each.dataset.command === action && !each.disabled);
    equivalent?.focus({ preventScroll: true });
  }

  /** @param {(typeof SECTIONS)[number]} kind @param {Model[]} models */
  #section(kind, models) {
    const admin = this.context.me.role === "admin";
    const several = kind === "checkpoint" && admin && this.#loaded().length > 1;
    return h(
      "section",
      { "aria-labelledby": `sl-models-${kind}` },
      h("header", {},
        h("h2", { id: `sl-models-${kind}` }, t(`models.${kind}`), " ", h("span", {}, formatNumber(models.length))),
        several && button({ label: t("models.unload_all"), kind: "quiet", onclick: withErrorToast(() => this.#requestLoad(null, false)) })),
      h("p", { class: "sl-hint" }, t(`models.${kind}.hint`)),
      models.length
        ? h("ul", {}, models.map((model) => modelRow(model, {
            admin, state: this.#stateOf(model.id), failure: this.#errors.get(model.id) ?? null,
            requestLoad: withErrorToast((load) => this.#requestLoad(model.id, load)), use: () => this.#use(model.id),
            makeDefault: withErrorToast(() => this.#makeDefault(model.id)), editDefaults: withErrorToast(() => editDefaults(model, () => this.refresh())) })))
        : h("p", { class: "sl-models-none" }, t(`models.${kind}.none`)),
    );
  }

  #showFailure() {
    setChildren(
      this.list,
      h("div", { class: "sl-empty" }, h("h3", {}, t("models.unread")), h("p", {}, t("models.unread.more")),
        button({ icon: "reuse", label: t("models.again"), onclick: () => this.refresh() })),
    );
  }

  /** @param {string} checkpoint */
  async #makeDefault(checkpoint) {
    const former = this.#models?.find((model) => model.kind === "checkpoint" && model.default)?.id;
    const set = async (/** @type {string} */ id) => {
      await read(await request("PATCH", "/v1/settings", { json: { checkpoint: id } }));
      this.refresh();
    };
    await set(checkpoint);
    const undo = former ? { label: t("undo"), run: withErrorToast(() => set(former)) } : undefined;
    toast(t("models.made_default", { name: checkpoint }), { action: undo });
  }

  /** @param {string} checkpoint */
  #use(checkpoint) {
    dispatchEvent(new CustomEvent("sl:checkpoint", { detail: checkpoint }));
    this.context.show("create");
  }
}

/** The error of a load request whose outcome is unknown. @param {string} checkpoint @returns {LoadError} */
const unknownOutcome = (checkpoint) => ({ checkpoint, time: "", code: "page.lost", message: t("models.failed", { name: checkpoint }) });
