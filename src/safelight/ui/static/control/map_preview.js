// The preview of a unit's map: asked for by a button, shown over the picture as strongly as is wanted, and kept up to date while it is fast.

import { ApiError } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { showFilled } from "../core/slider.js";
import { formatPercent, t } from "../core/text.js";
import { fittingResolution, preprocess } from "./preview.js";
import { preprocessorOptions } from "./units.js";

/** @typedef {import("./units.js").Unit} Unit */
/** @typedef {import("./units.js").UnitPicture} UnitPicture */
/** @typedef {{unit: Unit, picture: UnitPicture, key: string, resolution: number}} Wanted */

const FAST = 1.5; // seconds: a map that took less is made again when a parameter changes
const PAUSE = 300; // milliseconds after the last change

export class MapPreview {
  /** The map that is shown, and what it was made of. @type {(import("./preview.js").Map & {key: string, blob: Blob | null}) | null} */
  #map = null;
  /** What a map would be made of now; null: there is no picture, or no preprocessor. @type {Wanted | null} */
  #wanted = null;
  /** @type {AbortController | null} */
  #running = null;
  #timer = 0;
  /** Why the last one failed. @type {ApiError | null} */
  failure = null;
  #failedFor = "";

  /**
   * @param {{catalogue: import("./catalogue.js").Catalogue, jobStore: import("../core/job_store.js").JobStore, onmap: (url: string, opacity: number) => void, onchange: () => void}} options
   *   onmap: shows a map, or none; onchange: the failure has changed
   */
  constructor({ catalogue, jobStore, onmap, onchange }) {
    this.catalogue = catalogue;
    this.jobStore = jobStore;
    this.onmap = onmap;
    this.onchange = onchange;
    this.start = button({ icon: "eye", label: t("control.preview"), onclick: () => void this.#run() });
    this.shown = button({ icon: "eye", label: t("control.preview.show"), "aria-pressed": "true", hidden: true, onclick: () => this.#toggle() });
    this.opacity = h("input", { type: "range", class: "sl-slider", min: 0, max: 1, step: 0.05, value: "0.8", "aria-label": t("control.preview.opacity"), oninput: () => this.#render() });
    this.progress = h("progress", { class: "sl-unit-progress", max: 1, "aria-label": t("control.preview.progress") });
    this.elapsed = h("span", { class: "sl-hint" });
    this.cancel = button({ icon: "stop", label: t("jobs.cancel"), onclick: () => this.#stop() });
    this.busy = h("div", { class: "sl-unit-busy", hidden: true }, this.progress, this.elapsed, this.cancel);
    this.strength = h("div", { class: "sl-unit-opacity", hidden: true }, this.shown, this.opacity);
    this.refusal = h("p", { class: "sl-form-refusal", role: "alert", hidden: true });
    this.element = h("div", { class: "sl-unit-preview" }, this.start, this.busy, this.strength, this.refusal);
  }

  /** @param {Unit} unit @param {import("./unit_view.js").Target} target */
  update(unit, { initial, size }) {
    const options = preprocessorOptions(unit);
    const picture = unit.source === "initial" ? initial : unit.picture;
    const before = this.#wanted;
    if (options && picture) {
      const resolution = unit.resolution ?? fittingResolution(picture, size, unit.resize === "fill");
      this.#wanted = { unit, picture, resolution, key: JSON.stringify([options, resolution, picture.entry]) };
    } else this.#wanted = null;
    const isOther = this.#wanted?.picture.blob !== before?.picture.blob || this.#wanted?.picture.entry !== before?.picture.entry || this.#wanted?.unit.preprocessor !== before?.unit.preprocessor;
    if (isOther) {
      this.#running?.abort();
      this.#forget();
    } else if (this.#map && this.#wanted && this.#wanted.key !== this.#map.key && this.#map.seconds < FAST) {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => void this.#run(), PAUSE);
    }
    if (this.failure && this.#failedFor !== this.#wanted?.key) this.failure = null;
    this.#render();
  }

  /** Say why there is no map. @param {string} text  empty: nothing is wrong */
  refuse(text) {
    this.refusal.hidden = !text;
    if (this.refusal.textContent !== text) this.refusal.textContent = text;
  }

  /** Stop, and release what is held for the map. */
  close() {
    this.#running?.abort();
    clearTimeout(this.#timer);
    this.#forget();
  }

  async #run() {
    clearTimeout(this.#timer);
    const wanted = this.#wanted;
    if (!wanted) return;
    this.#running?.abort();
    const running = (this.#running = new AbortController());
    const { picture, unit, key, resolution } = wanted;
    const options = preprocessorOptions(unit);
    const began = performance.now();
    const tick = () => (this.elapsed.textContent = t("control.preview.seconds", { n: Math.round((performance.now() - began) / 1000) }));
    const clock = setInterval(tick, 1000);
    tick();
    this.progress.removeAttribute("value");
    this.failure = null;
    this.#render();
    this.onchange();
    try {
      const asJob = !!this.catalogue.preprocessor(unit.preprocessor)?.runs_in_worker;
      const made = await preprocess(picture, { ...options, name: unit.preprocessor, resolution }, { jobStore: this.jobStore, asJob, signal: running.signal, onprogress: (fraction) => fraction && (this.progress.value = fraction) });
      if (running.signal.aborted) return URL.revokeObjectURL(made.url);
      this.#forget();
      this.#map = { ...made, key, blob: picture.blob };
    } catch (error) {
      if (running.signal.aborted) return;
      this.failure = error instanceof ApiError ? error : new ApiError({ code: "page", message: String(error) }, 0);
      this.#failedFor = key;
      this.onchange();
    } finally {
      clearInterval(clock);
      if (this.#running === running) this.#running = null;
      this.#render();
    }
  }

  #stop() {
    this.#running?.abort();
    this.#running = null;
    this.#render();
    (this.start.hidden ? this.shown : this.start).focus();
  }

  #toggle() {
    this.shown.setAttribute("aria-pressed", String(this.shown.ariaPressed !== "true"));
    this.#render();
  }

  #forget() {
    if (this.#map) URL.revokeObjectURL(this.#map.url);
    this.#map = null;
  }

  #render() {
    const isBusy = !!this.#running;
    this.element.hidden = !this.#wanted;
    this.busy.hidden = !isBusy;
    this.start.hidden = isBusy && !this.#map;
    this.strength.hidden = !this.#map;
    this.shown.hidden = !this.#map;
    const isOld = !!this.#map && this.#map.key !== this.#wanted?.key;
    const label = t(this.#map ? "control.preview.again" : "control.preview");
    if (this.start.lastElementChild && this.start.lastElementChild.textContent !== label) this.start.lastElementChild.textContent = label;
    this.start.hidden ||= !!this.#map && !isOld;
    this.element.classList.toggle("sl-old", isOld);
    const opacity = this.shown.ariaPressed === "true" ? this.opacity.valueAsNumber : 0;
    this.opacity.setAttribute("aria-valuetext", formatPercent(this.opacity.valueAsNumber));
    showFilled(this.opacity);
    this.onmap(this.#map && opacity ? this.#map.url : "", opacity);
  }
}
