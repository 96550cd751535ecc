// The networks browser: LoRAs and embeddings as cards, in the stage's place beside the prompts into which a press puts them.

import { get, query, request } from "./core/api.js";
import { button, h, icon } from "./core/dom.js";
import { registerShortcut } from "./core/shortcuts.js";
import { t } from "./core/text.js";
import { withErrorToast } from "./core/toast.js";
import { makeCard } from "./networks/card.js";
import { Cards } from "./networks/cards.js";
import { showDetails } from "./networks/details.js";
import { hasNetwork, withNetwork, withoutNetwork, withWords } from "./networks/prompt_text.js";
import { showPane } from "./panes.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./types").Adapter} Adapter */
/** @typedef {"prompt" | "negative_prompt"} PromptName */
/** @typedef {{kind: string, sort: string, fitting: boolean, favourites: boolean}} Choices */

const STORAGE_KEY = "safelight.networks";
const KINDS = ["", "LoRA", "embedding"];
/** @type {Record<string, (one: Adapter, other: Adapter) => number>} */
const ORDERS = {
  name: (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }),
  newest: (one, other) => other.modified.localeCompare(one.modified) || ORDERS.name(one, other),
  used: (one, other) => other.pictures - one.pictures || ORDERS.name(one, other),
};

export class Networks {
  /** @type {Adapter[]} */
  #networks = [];
  /** What a search looks in, by id. @type {Map<string, string>} */
  #words = new Map();
  /** Names that several networks of a kind have. @type {Set<string>} */
  #shared = new Set();
  #loadedFor = "";
  #controller = new AbortController();

  /**
   * @param {HTMLElement} stage  the element whose place it takes
   * @param {{form: import("./form.js").Form, view: import("./form/view.js").FormView, jobStore: import("./core/job_store.js").JobStore, isAdmin: boolean}} parts
   */
  constructor(stage, { form, view, jobStore, isAdmin }) {
    this.stage = stage;
    this.form = form;
    this.view = view;
    this.isAdmin = isAdmin;
    const { kind, sort, fitting, favourites } = (this.choices = readChoices());
    this.search = h("input", { type: "search", class: "sl-field", placeholder: t("networks.search"), "aria-label": t("networks.search"), oninput: () => this.#show() });
    this.count = h("span", { class: "sl-hint", role: "status" });
    this.cards = new Cards({ label: t("networks.title"), make: (network) => this.#card(network) });
    this.empty = h("p", { class: "sl-hint sl-net-empty", hidden: true });
    const toggle = (/** @type {"fitting" | "favourites"} */ name, /** @type {boolean} */ on, /** @type {Parameters<typeof icon>[0]} */ image) => {
      const made = h("button", { type: "button", class: "sl-chip sl-net-toggle", "aria-pressed": String(on), onclick: () => {
        made.setAttribute("aria-pressed", String(!this.choices[name]));
        this.#choose({ [name]: !this.choices[name] });
      } }, icon(image), h("span", {}, t(`networks.${name}`)));
      return made;
    };
    const list = (/** @type {"kind" | "sort"} */ name, /** @type {string[]} */ values, /** @type {string} */ value) => {
      const made = h("select", { class: "sl-field", "aria-label": t(`networks.${name}`), onchange: () => this.#choose({ [name]: made.value }) },
        values.map((each) => h("option", { value: each, selected: each === value }, t(`networks.${name}.${each || "all"}`))));
      return made;
    };
    this.element = h("section", { class: "sl-networks", "aria-label": t("networks.title"), hidden: true },
      h("div", { class: "sl-net-head" },
        h("h3", {}, t("networks.title")), this.count,
        button({ icon: "reuse", label: t("networks.reload"), iconOnly: true, onclick: () => this.#load() }),
        button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => this.close() })),
      h("div", { class: "sl-net-tools" }, h("div", { class: "sl-net-search" }, icon("search"), this.search), list("kind", KINDS, kind), list("sort", Object.keys(ORDERS), sort), toggle("fitting", fitting, "check"), toggle("favourites", favourites, "heart")),
      this.empty, this.cards.element);
    stage.prepend(this.element);
    stage.addEventListener("click", (event) => event.target instanceof Element && event.target.closest(".sl-strip") && this.close(), true); // it shows what is pressed there
    jobStore.subscribe((change) => change.type === "added" && this.close());
    addEventListener("sl:edit", () => this.close());
    form.subscribe(() => this.#onForm());
    registerShortcut("Escape", "networks.close", () => this.close(), { whileTyping: true, isActive: () => this.isOpen && noDialogOpen() && !this.search.value && (this.element.contains(document.activeElement) || document.activeElement === document.body) });
  }

  get isOpen() {
    return !this.element.hidden && this.element.checkVisibility();
  }

  /** Show it, and look for new files. */
  open() {
    this.element.hidden = false;
    this.stage.classList.add("sl-stage-networks");
    showPane("stage");
    if (matchMedia("(hover: hover)").matches) this.search.focus(); // elsewhere the on-screen keyboard would cover the cards
    return this.#load();
  }

  /** Show the stage again. */
  close() {
    if (this.element.hidden) return;
    const focused = this.element.contains(document.activeElement);
    this.element.hidden = true;
    this.stage.classList.remove("sl-stage-networks");
    if (focused) document.querySelector(/** @type {"button"} */ ("#sl-networks-button"))?.focus();
  }

  #load = withErrorToast(async () => {
    const checkpoint = (this.#loadedFor = String(this.form.values.checkpoint));
    this.#controller.abort();
    const { signal } = (this.#controller = new AbortController());
    if (!this.#networks.length) this.count.textContent = t("networks.loading");
    /** @type {Adapter[]} */
    let found;
    try {
      found = (await get(`/v1/adapters${query({ checkpoint })}`, signal)).adapters;
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    const stay = this.#networks.length > 0;
    this.#networks = found;
    this.#words = new Map(found.map((each) => [each.id, [each.place, each.alias, each.family ?? "", ...each.types, ...each.trigger_words].join(" ").toLowerCase()]));
    const names = found.map(({ kind, name }) => `${kind}/${name.toLowerCase()}`);
    this.#shared = new Set(names.filter((name, index) => names.indexOf(name) !== index));
    this.#show(stay);
  });

  /** @param {Partial<Choices>} changes */
  #choose(changes) {
    this.choices = { ...this.choices, ...changes };
    localStorage.setItem(STORAGE_KEY, JSON.stringify(this.choices));
    this.#show();
  }

  /** @param {boolean} [stay]  keep the scroll position */
  #show(stay = false) {
    const { kind, sort, fitting, favourites } = this.choices;
    const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#networks.filter((each) => (!kind || each.kind === kind) && (!fitting || each.fits !== false) && (!favourites || each.favourite) && wanted.every((word) => this.#words.get(each.id)?.includes(word)));
    this.cards.show(found.sort(ORDERS[sort]), stay);
    this.count.textContent = t("networks.count", { n: found.length });
    this.empty.hidden = found.length > 0;
    this.empty.textContent = t(this.#networks.length ? "networks.none" : "networks.nothing");
    this.#markInserted();
  }

  /** The form has changed: other networks may be in its prompts, and others may fit its checkpoint. */
  #onForm() {
    if (!this.isOpen) return;
    if (String(this.form.values.checkpoint) !== this.#loadedFor) void this.#load();
    else this.#markInserted();
  }

  #markInserted() {
    const byId = new Map(this.#networks.map((each) => [each.id, each]));
    for (const [id, card] of this.cards.rendered) {
      const network = byId.get(id);
      if (network) this.#mark(card, network);
    }
  }

  /** @param {Element} card @param {Adapter} network */
  #mark(card, network) {
    const { prompt, negative_prompt } = this.form.values;
    const inserted = hasNetwork(String(prompt), network) || (network.kind === "embedding" && hasNetwork(String(negative_prompt), network));
    card.querySelector(".sl-net-insert")?.setAttribute("aria-pressed", String(inserted));
  }

  /** @param {Adapter} network */
  #card(network) {
    const card = makeCard(network, {
      insert: (each) => this.#toggle(each),
      words: ({ trigger_words }) => this.#change("prompt", (text) => withWords(text, trigger_words)),
      favourite: (each) => this.#favourite(each),
      details: (each) => this.#details(each),
    });
    this.#mark(card, network);
    return card;
  }

  /** Put a network into a prompt, or take it out of both. A LoRA goes into the prompt: a negative one has none. @param {Adapter} network */
  #toggle(network) {
    const names = /** @type {PromptName[]} */ (network.kind === "LoRA" ? ["prompt"] : ["prompt", "negative_prompt"]);
    const having = names.filter((name) => hasNetwork(String(this.form.values[name]), network));
    for (const name of having) this.#change(name, (text) => withoutNetwork(text, network));
    if (having.length) return;
    const called = this.#shared.has(`${network.kind}/${network.name.toLowerCase()}`) ? network.place : network.name;
    this.#change(network.kind === "LoRA" ? "prompt" : this.view.lastPrompt, (text) => withNetwork(text, network, called));
  }

  /** @param {PromptName} name @param {(text: string) => string} edit */
  #change(name, edit) {
    const { lastPrompt } = this.view;
    this.view.prompts[name].setText(edit(String(this.form.values[name])));
    this.view.lastPrompt = lastPrompt; // which the change has focused for a moment
  }

  #favourite = withErrorToast(async (/** @type {Adapter} */ { id, favourite }) => {
    this.#replace({ id, favourite: !favourite });
    try {
      await request(favourite ? "DELETE" : "PUT", `/v1/adapters/${id}/favourite`);
    } catch (error) {
      this.#replace({ id, favourite });
      throw error;
    }
  });

  #details = withErrorToast((/** @type {Adapter} */ network) => showDetails(network, {
    canChange: this.isAdmin,
    insertTag: (tag) => this.#change("prompt", (text) => withWords(text, [tag])),
    onchange: ({ id, preview, preview_set }) => this.#replace({ id, preview, preview_set }),
  }));

  /** @param {Partial<Adapter> & {id: string}} changes */
  #replace(changes) {
    const index = this.#networks.findIndex(({ id }) => id === changes.id);
    if (index < 0) return;
    this.#networks[index] = { ...this.#networks[index], ...changes };
    this.cards.replace(this.#networks[index]);
  }
}

/** @returns {Choices} */
function readChoices() {
  /** @type {Partial<Choices>} */
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}");
  } catch {
    // as on the first visit
  }
  return { kind: KINDS.includes(kept.kind ?? "") ? (kept.kind ?? "") : "", sort: kept.sort && kept.sort in ORDERS ? kept.sort : "name", fitting: !!kept.fitting, favourites: !!kept.favourites };
}
