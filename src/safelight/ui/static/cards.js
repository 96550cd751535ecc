// The feed of jobs beside the form: each has its card, from its place in the queue to its pictures.

import { get } from "./core/api.js";
import { button, fill, h, icon } from "./core/dom.js";
import { isOver } from "./core/live.js";
import { badge, framed, thumbnailOf } from "./core/picture.js";
import { reveal } from "./core/scroll.js";
import { clock, duration, t } from "./core/text.js";
import { complain, watched } from "./core/toast.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./types").Job} Job */
/** @typedef {import("./types").DrawnPicture} DrawnPicture */

const SHOWN = 30; // cards; older ones are in the gallery
const PLACES = 24; // empty places of a card
const MOST = 100; // pictures of a card
const AGAIN = 500; // milliseconds until it is asked again what is finished
const WIDEST = 380; // pixels of the page that one of several pictures takes

/** @param {HTMLElement} root @param {import("./types").Studio} studio */
export function mountCards(root, studio) {
  /** @type {Map<string, Card>} */
  const cards = new Map();
  const largest = Number(root.dataset.thumbnail);
  const list = h("div", { class: "sl-cards", role: "region", "aria-label": t("cards.title") });
  const empty = h("div", { class: "sl-empty" }, h("div", { class: "sl-lamp", "aria-hidden": "true" }), h("h3", {}, t("cards.empty")), h("p", {}, t("cards.empty.says")));
  const back = button({ icon: "up", label: t("cards.back"), class: "sl-button sl-back", onclick: toForm });
  fill(root, h("h2", { class: "sl-hidden" }, t("cards.title")), back, list, empty);

  // One quiet voice for all cards: that each step were read aloud would help nobody.
  const voice = h("p", { class: "sl-hidden", role: "status" });
  root.append(voice);
  /** @type {Map<string, string>} */
  const states = new Map(studio.live.newest().map((job) => [job.id, job.state]));
  const tell = (/** @type {Job} */ job) => {
    const before = states.get(job.id);
    states.set(job.id, job.state);
    if (before && before !== job.state) voice.textContent = `${job.request.prompt ?? ""}: ${statusOf(job, false)}`;
  };

  const arrange = () => {
    const jobs = studio.live.newest().filter((job) => job.kind !== "scan").slice(0, SHOWN);
    const ids = new Set(jobs.map((job) => job.id));
    for (const [id, card] of cards) if (!ids.has(id)) (card.element.remove(), cards.delete(id));
    jobs.forEach((job, place) => {
      let card = cards.get(job.id);
      if (!card) cards.set(job.id, (card = new Card(job, studio, largest)));
      card.update(job);
      if (list.children[place] !== card.element) list.insertBefore(card.element, list.children[place] ?? null);
    });
    empty.hidden = jobs.length > 0;
    back.hidden = jobs.length === 0;
  };
  studio.live.listen((change) => {
    if (change.type === "job") tell(change.job);
    if (change.type === "job" && cards.has(change.job.id)) return cards.get(change.job.id)?.update(change.job);
    if (change.type === "job" || change.type === "jobs") return arrange();
    if (change.type === "queue") return change.ids.forEach((id) => cards.get(id)?.update(/** @type {Job} */ (studio.live.jobs.get(id))));
    if (change.type === "preview") return cards.get(change.id)?.preview(change);
    if (change.type === "connection" && change.open) return reload(list);
    if (change.type === "error") complain(Object.assign(new Error(), change.error));
  });
  addEventListener("sl:entry", (event) => {
    const { kind, id } = /** @type {CustomEvent} */ (event).detail;
    if (kind !== "favourite") for (const card of cards.values()) card.hide(id, kind === "removed");
  });
  arrange();
}

/** The card of a job that the page itself has submitted; it is made at once. @param {string} id */
export const cardOf = (id) => /** @type {HTMLElement | null} */ (document.querySelector(`.sl-card[data-job="${CSS.escape(id)}"]`));

/** Lead back to the form, which lies above the cards where the window is narrow. */
function toForm() {
  const form = document.querySelector(/** @type {"div"} */ ("#sl-form"));
  if (form) void reveal(form, { focus: form });
}

/** Load again what could not be loaded while the server was away. @param {HTMLElement} list */
function reload(list) {
  for (const image of list.querySelectorAll(/** @type {"img"} */ (".sl-broken img"))) image.src = image.src;
}

class Card {
  /** Finished pictures by their index. @type {Map<number, DrawnPicture>} */
  #done = new Map();
  /** Places of pictures by their index. @type {Map<number, HTMLElement>} */
  #slots = new Map();
  #asking = false;
  #asked = 0; // up to which picture it was asked what is finished
  #state = "";

  /** @param {Job} job @param {import("./types").Studio} studio @param {number} largest  side of a thumbnail, in pixels */
  constructor(job, studio, largest) {
    this.studio = studio;
    this.largest = largest;
    this.job = job;
    const words = job.request.prompt || t(job.kind === "upscale" ? "cards.upscale" : "cards.no_prompt");
    this.title = h("h3", { class: "sl-card-title", title: words }, words);
    this.status = h("p", { class: "sl-card-status" });
    this.buttons = h("div", { class: "sl-card-buttons" });
    this.bar = h("div", { class: "sl-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("cards.progress") }, h("div"));
    this.pictures = h("div", { class: "sl-card-pictures" });
    this.error = h("div");
    this.rest = h("p", { class: "sl-hint", hidden: true });
    this.element = h("article", { class: "sl-card", "aria-label": words, tabindex: 0, "data-job": job.id },
      h("header", {}, h("div", { class: "sl-card-words" }, this.title, this.status), this.buttons), this.bar, this.error, this.pictures, this.rest);
  }

  /** Show a job as it is now. @param {Job} job */
  update(job) {
    this.job = job;
    const over = isOver(job);
    if (this.#state !== job.state) {
      this.#state = job.state;
      this.element.dataset.state = job.state;
      this.#makeButtons(over);
      this.bar.hidden = over;
    }
    fill(this.status, statusOf(job, this.studio.me.role === "admin" && job.owner !== this.studio.me.owner));
    const share = Math.round((job.progress?.fraction ?? 0) * 100);
    this.bar.setAttribute("aria-valuenow", String(share));
    /** @type {HTMLElement} */ (this.bar.firstElementChild).style.transform = `scaleX(${share / 100})`;
    if (job.error && !this.error.childElementCount) fill(this.error, h("div", { class: "sl-card-error" }, icon("warning"), h("div", {}, h("p", {}, job.error.message), job.error.hint && h("p", { class: "sl-hint" }, job.error.hint))));
    for (const picture of job.result?.pictures ?? []) this.#show(picture);
    const told = job.result !== null || job.state === "failed"; // large results are not sent over the socket
    if (over && told) this.#close();
    if (!over) this.#makeSlots(job);
    if (over ? !told : (job.progress?.picture ?? 0) > this.#asked) void this.#fetchDone();
    const known = this.studio.live.previews.get(job.id);
    if (!over && known) this.preview(known);
  }

  /** Show how far the picture on its way is. @param {{picture: number, image: string}} preview */
  preview({ picture, image }) {
    if (this.#done.has(picture)) return;
    const slot = this.#slot(picture);
    const shown = slot.querySelector("img");
    if (shown && shown.src !== image) shown.src = image;
    else if (!shown) slot.replaceChildren(h("img", { src: image, alt: t("cards.preview"), class: "sl-preview" }));
    slot.classList.remove("sl-waiting");
  }

  /** Places for the pictures to come, as many as can be looked over. @param {Job} job */
  #makeSlots(job) {
    const count = job.kind === "generate" ? (job.request.count ?? 1) : 1;
    for (let index = 0; index < Math.min(count, PLACES); index++) this.#slot(index);
    this.#setColumns(count);
  }

  /** The place of a picture. @param {number} index @returns {HTMLElement} */
  #slot(index) {
    const known = this.#slots.get(index);
    if (known) return known;
    const slot = h("div", { class: "sl-slot sl-waiting", style: `aspect-ratio: ${shapeOf(this.job)}` });
    const next = [...this.#slots.keys()].filter((other) => other > index).sort((one, other) => one - other)[0];
    this.pictures.insertBefore(slot, this.#slots.get(next) ?? null);
    this.#slots.set(index, slot);
    return slot;
  }

  /** @param {number} count */
  #setColumns(count) {
    this.pictures.style.setProperty("--columns", String(columnsFor(count)));
  }

  /** What is finished already; one question at a time, and only for what is new. */
  async #fetchDone() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const made = isOver(this.job) ? MOST : (this.job.progress?.picture ?? 0);
      const limit = Math.min(MOST, Math.max(1, made - this.#done.size + 1));
      const { entries } = await get(`/v1/gallery?job_id=${this.job.id}&limit=${limit}`);
      for (const entry of entries) this.#show(entry);
      this.#asked = made;
      if (isOver(this.job)) this.#close();
    } catch (error) {
      if (isOver(this.job)) complain(error); // before, the next step asks again
    } finally {
      setTimeout(() => (this.#asking = false), AGAIN);
    }
  }

  /** Take a picture out of sight, or put it back. @param {string} id @param {boolean} away */
  hide(id, away) {
    const picture = [...this.#done.values()].find((each) => each.id === id);
    const slot = picture && this.#slots.get(picture.index);
    if (slot) slot.hidden = away;
  }

  /** @param {DrawnPicture} picture */
  #show(picture) {
    if (this.#done.has(picture.index)) return;
    this.#done.set(picture.index, picture);
    if (this.#done.size > MOST) {
      this.rest.hidden = false;
      return fill(this.rest, t("cards.rest", { n: this.#done.size - MOST }));
    }
    const slot = this.#slot(picture.index);
    slot.classList.remove("sl-waiting");
    const shown = { ...picture, prompt: this.job.request.prompt };
    slot.style.aspectRatio = `${picture.width} / ${picture.height}`;
    fill(slot, framed(shown, { src: thumbnailOf(picture.id, this.#side), onopen: () => this.#open(picture.index) }), badge(picture));
    slot.hidden = this.studio.actions.isDoomed(picture.id);
  }

  /** How large a thumbnail is worth asking for: one alone is looked at closely, several need what their places have. */
  get #side() {
    const alone = (this.job.request.count ?? 1) === 1;
    return alone ? this.largest : Math.min(this.largest, 2 ** Math.ceil(Math.log2(WIDEST * devicePixelRatio)));
  }

  /** Take away the places that nothing came into. */
  #close() {
    for (const [index, slot] of this.#slots) if (!this.#done.has(index)) slot.remove();
    this.#setColumns(this.#done.size);
  }

  /** @param {number} index */
  #open(index) {
    const shown = [...this.#done.values()].sort((one, other) => one.index - other.index);
    openViewer(this.studio, shown, shown.findIndex((picture) => picture.index === index), {
      onchange: (change) => dispatchEvent(new CustomEvent("sl:entry", { detail: change })), // also the gallery shows it
    });
  }

  /** @param {boolean} over */
  #makeButtons(over) {
    const { id, request, kind } = this.job;
    const signal = (/** @type {"cancel" | "finish" | "skip"} */ action) => watched(() => this.studio.live.signal(action, id));
    const focused = this.buttons.contains(document.activeElement);
    const running = this.job.state === "running" && kind === "generate";
    const first = () => [...this.#done.values()].sort((one, other) => one.index - other.index).find((picture) => picture.decision !== "block");
    const use = watched(async () => {
      const picture = first();
      if (picture) await this.studio.actions.use(picture.id);
    });
    fill(
      this.buttons,
      running && (request.count ?? 1) > 1 && button({ icon: "right", label: t("cards.skip"), bare: true, onclick: signal("skip") }),
      running && button({ icon: "check", label: t("cards.finish"), bare: true, onclick: signal("finish") }),
      !over && button({ icon: "stop", label: t(this.job.state === "queued" ? "cards.cancel" : "cards.stop"), onclick: signal("cancel"), class: "sl-button sl-stop" }),
      over && this.job.state === "succeeded" && kind === "generate" && button({ icon: "reuse", label: t("cards.use"), bare: true, onclick: use }),
    );
    if (focused) (this.buttons.querySelector("button") ?? this.element).focus();
  }
}

/** Where a job stands, in words. @param {Job} job @param {boolean} foreign  Whether to say whose it is. */
function statusOf(job, foreign) {
  const parts = [];
  const { progress } = job;
  if (job.state === "queued") {
    parts.push(job.position === null ? t("cards.queued") : t("cards.place", { place: job.position }));
  } else if (job.state === "running") {
    const stage = t(`stage.${progress?.stage ?? "loading"}`);
    parts.push(progress && progress.steps > 1 ? t("cards.step", { stage, step: progress.step, steps: progress.steps }) : stage);
    if (progress && progress.pictures > 1) parts.push(t("cards.picture", { picture: progress.picture + 1, pictures: progress.pictures }));
    if (job.attempt > 1) parts.push(t("cards.again"));
  } else {
    parts.push(t(`cards.${job.state}`, { time: clock(job.ended ?? job.created) }));
    if (job.started && job.ended && job.state === "succeeded") parts.push(duration((Date.parse(job.ended) - Date.parse(job.started)) / 1000));
  }
  if (job.eta !== null && !isOver(job)) parts.push(t("cards.eta", { time: duration(job.eta) }));
  if (foreign) parts.push(job.owner);
  return parts.join(" · ");
}

/** @param {Job} job */
const shapeOf = ({ request }) => `${request.width ?? 1} / ${request.height ?? 1}`;
/** @param {number} count */
const columnsFor = (count) => (count <= 1 ? 1 : count <= 4 ? 2 : count <= 9 ? 3 : 4);
