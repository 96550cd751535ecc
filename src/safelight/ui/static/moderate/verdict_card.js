// One file's card: its picture as far as it may be shown, the decision, and what it rests on.

import { ApiError } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, setChildren, h, icon } from "../core/dom.js";
import { decisionBadge, pictureFrame } from "../core/picture.js";
import { formatPercent, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { thresholdsOf } from "../policy.js";
import { decidingLabel, evaluate } from "./evaluation.js";
import { setZones } from "./policy_panel.js";

/**
 * @typedef {import("./upload_queue.js").Item} Item
 * @typedef {import("../types").Policy} Policy
 * @typedef {import("./evaluation.js").Evaluation} Judged
 * @typedef {{thumbnails: import("./thumbnails.js").Thumbnails, heatMaps: import("./heat_maps.js").HeatMaps}} CardServices
 */

const HOVER_DELAY = 300; // milliseconds on a picture after which its heat map is wanted
const MIN_SCORE = 0.001; // scores below are not worth a bar of their own

export class VerdictCard {
  /** Whether it is near enough to be looked at; others are filled when they are. */
  near = false;
  #outdated = true; // what is drawn is not what is known
  /** @type {Policy | null} */
  #renderedPolicy = null;
  /** What the frame shows; it is only made anew where that is another. */
  #frameKey = "";
  #heatMapOn = false; // the toggle is on
  #hovered = false; // something points at it
  #heatMapRequest = 0; // the newest wish for a heat map, so that older answers are dropped

  /** @param {Item} item @param {CardServices} services */
  constructor(item, services) {
    this.item = item;
    this.services = services;
    this.element = h("li", { class: "sl-moderate-card" });
    this.pictureBox = h("div", { class: "sl-moderate-picture" });
    this.verdictBox = h("div", { class: "sl-moderate-verdict" });
    this.heatMapToggle = button({ label: t("moderate.heat"), kind: "quiet", "aria-pressed": "false", onclick: () => this.#toggleHeatMap() });
  }

  /** Show it under a policy, now or when it comes near. @param {Policy} policy @param {boolean} [force]  also where nothing seems to have changed */
  show(policy, force = false) {
    this.#outdated ||= force || this.#renderedPolicy !== policy;
    if (!this.near || !this.#outdated) return;
    this.#outdated = false;
    this.#renderedPolicy = policy;
    if (!this.element.firstChild) this.#build();
    const evaluation = evaluate(this.item, policy);
    void this.#renderFrame(evaluation);
    setChildren(this.verdictBox, evaluation ? this.#verdictElements(evaluation, policy) : h("span", { class: "sl-badge" }, t(`moderate.${this.item.state}`)));
    this.#renderToggle(evaluation);
  }

  #build() {
    const name = h("span", { class: "sl-moderate-name", title: this.item.name }, this.item.name);
    this.element.append(this.pictureBox, h("div", { class: "sl-moderate-about" }, name, this.verdictBox, this.heatMapToggle));
    this.pictureBox.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#setHovered(true));
    this.pictureBox.addEventListener("pointerleave", () => this.#setHovered(false));
    this.pictureBox.addEventListener("focusin", () => this.#setHovered(true));
    this.pictureBox.addEventListener("focusout", () => this.#setHovered(false));
    this.pictureBox.addEventListener("click", () => this.#renderToggle(this.#renderedPolicy && evaluate(this.item, this.#renderedPolicy)));
  }

  /** @param {Judged | null} evaluation */
  async #renderFrame(evaluation) {
    const wanted = evaluation?.decision ?? this.item.state;
    const key = wanted === "block" ? `block ${evaluation?.unsafe}` : wanted;
    if (key === this.#frameKey) return;
    this.#frameKey = key;
    this.#heatMapOn = false;
    if (!evaluation || evaluation.decision === "error") return setChildren(this.pictureBox, this.#placeholder(evaluation));
    const picture = { id: "", width: 4, height: 3, decision: evaluation.decision, unsafe: evaluation.unsafe, prompt: this.item.name };
    if (evaluation.decision === "block") return setChildren(this.pictureBox, pictureFrame(picture, { src: "" }));
    const thumbnail = await this.services.thumbnails.get(this.item.file);
    if (key !== this.#frameKey) return; // another policy meanwhile
    setChildren(
      this.pictureBox,
      thumbnail ? pictureFrame(picture, { src: thumbnail.url, lazy: false, onopen: () => this.#openDialog() }) : this.#placeholder(evaluation),
    );
    this.#renderToggle(evaluation);
    void this.#updateHeatMap();
  }

  /** What stands where there is no picture to see. @param {Judged | null} evaluation */
  #placeholder(evaluation) {
    const says = evaluation === null ? `moderate.${this.item.state}.picture` : evaluation.decision === "error" ? "moderate.unjudged" : "moderate.unreadable";
    const image = icon(evaluation?.decision === "error" ? "warning" : evaluation ? "eye" : "shield");
    return h("div", { class: `sl-frame sl-moderate-blank sl-is-${evaluation ? evaluation.decision : this.item.state}` }, image, h("p", {}, t(says)));
  }

  /** @param {Judged} evaluation @param {Policy} policy */
  #verdictElements(evaluation, policy) {
    const { failure } = evaluation;
    const scores = this.item.verdict?.scores ?? {};
    const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
    const label = failure ? undefined : decidingLabel(scores, policy);
    return [
      decisionBadge(evaluation),
      failure && h("div", { class: "sl-moderate-failure" }, h("p", {}, failure.message), failure.hint && h("p", { class: "sl-hint" }, failure.hint)),
      label !== undefined && scoreBar(label, scores[label], policy),
      rows.length > 0 && h("ul", { class: "sl-moderate-scores", "aria-label": t("moderate.scores") },
        rows.filter(([, score], index) => index < 2 || score >= MIN_SCORE).map(([name, score]) => h("li", {}, name, " ", h("b", {}, formatPercent(score, 1))))),
      ...(this.item.verdict?.notes ?? []).map((note) => h("p", { class: "sl-hint" }, note)),
    ];
  }

  /** Whether its picture is there to be seen. */
  get #pictureVisible() {
    return this.pictureBox.querySelector("img") !== null && this.pictureBox.querySelector(".sl-veiled") === null;
  }

  /** @param {Judged | null} evaluation */
  #renderToggle(evaluation) {
    const shown = evaluation?.decision === "allow" || evaluation?.decision === "review";
    this.heatMapToggle.hidden = !shown || this.pictureBox.querySelector(".sl-moderate-blank") !== null;
    const blurred = evaluation?.decision === "review" && !this.#pictureVisible;
    this.heatMapToggle.disabled = this.services.heatMaps.unsupported !== null || blurred;
    this.heatMapToggle.title = this.services.heatMaps.unsupported ?? (blurred ? t("moderate.heat.veiled") : "");
    this.heatMapToggle.setAttribute("aria-pressed", String(this.#heatMapOn));
  }

  #toggleHeatMap() {
    this.#heatMapOn = !this.#heatMapOn;
    this.heatMapToggle.setAttribute("aria-pressed", String(this.#heatMapOn));
    void this.#updateHeatMap();
  }

  /** @param {boolean} hovered */
  #setHovered(hovered) {
    if (hovered === this.#hovered) return;
    this.#hovered = hovered;
    if (hovered) setTimeout(() => this.#hovered && void this.#updateHeatMap(), HOVER_DELAY);
    else void this.#updateHeatMap();
  }

  /** Lay the heat map over the picture, or take it away. */
  async #updateHeatMap() {
    const request = ++this.#heatMapRequest;
    const frame = this.pictureBox.querySelector(".sl-frame");
    if (!(this.#heatMapOn || this.#hovered) || !this.#pictureVisible || this.services.heatMaps.unsupported !== null) {
      this.pictureBox.querySelector(".sl-moderate-heat")?.remove();
      return;
    }
    try {
      const src = await this.#fetchHeatMap();
      if (request !== this.#heatMapRequest || !frame?.isConnected) return;
      this.pictureBox.querySelector(".sl-moderate-heat")?.remove();
      frame.append(h("img", { class: "sl-moderate-heat", src, alt: t("moderate.heat.of", { name: this.item.name }) }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#heatMapOn = false;
      this.heatMapToggle.setAttribute("aria-pressed", "false");
      if (request !== this.#heatMapRequest || this.services.heatMaps.unsupported !== null) return; // then it is said above all cards
      frame?.append(h("span", { class: "sl-moderate-heat sl-is-error", role: "status" }, error.message || t("error.offline")));
    }
  }

  /** The heat map of the frame that was judged. */
  #fetchHeatMap() {
    return this.services.heatMaps.get(this.item.file, this.item.verdict?.frame ?? 0);
  }

  /** The picture large. */
  #openDialog() {
    const src = URL.createObjectURL(this.item.file);
    const image = h("img", { src, alt: this.item.name });
    const map = h("img", { alt: t("moderate.heat.of", { name: this.item.name }), hidden: true });
    const toggle = button({
      label: t("moderate.heat"), "aria-pressed": "false", disabled: this.services.heatMaps.unsupported !== null, title: this.services.heatMaps.unsupported,
      onclick: withErrorToast(async () => {
        const on = map.hidden;
        if (on) map.src = await this.#fetchHeatMap();
        map.hidden = !on;
        image.hidden = on;
        toggle.setAttribute("aria-pressed", String(on));
      }),
    });
    const box = dialog(this.item.name, h("div", { class: "sl-moderate-large" }, image, map), h("footer", {}, toggle));
    box.classList.add("sl-moderate-dialog");
    box.addEventListener("close", () => URL.revokeObjectURL(src));
  }
}

/**
 * A score on a bar with the thresholds marked.
 * @param {string} label
 * @param {number} score
 * @param {Policy} policy
 */
function scoreBar(label, score, policy) {
  const thresholds = thresholdsOf(label, policy);
  if (!thresholds) return null;
  const { review, block } = thresholds;
  const says = t("moderate.bar", { label, score: formatPercent(score, 1), review: formatPercent(review), block: formatPercent(block) });
  const element = h("div", { class: "sl-moderate-bar", role: "img", "aria-label": says, title: says }, h("i", {}));
  element.style.setProperty("--score", `${((score ?? 1) * 100).toFixed(2)}%`);
  element.style.setProperty("--mark-review", `${review * 100}%`);
  element.style.setProperty("--mark-block", `${block * 100}%`);
  setZones(element, { review, block, abstain: policy.abstain });
  return element;
}
