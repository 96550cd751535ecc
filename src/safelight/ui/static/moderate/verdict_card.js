// A file's card: its picture if the policy allows to show it, the decision, and the scores behind it.

import { ApiError } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, h, icon, setChildren } from "../core/dom.js";
import { errorText, isServersText } from "../core/error_text.js";
import { decisionBadge, pictureFrame } from "../core/picture.js";
import { formatPercent, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { thresholdsOf } from "../policy.js";
import { decidingLabel, evaluate } from "./evaluation.js";
import { setZones } from "./policy_panel.js";

/**
 * @typedef {import("./upload_queue.js").Item} Item
 * @typedef {import("../types").Policy} Policy
 * @typedef {import("./evaluation.js").Evaluation} Evaluation
 * @typedef {{thumbnails: import("./thumbnails.js").Thumbnails, heatMaps: import("./heat_maps.js").HeatMaps}} CardServices
 */

const HOVER_DELAY = 300; // milliseconds of hovering before the heat map is loaded
const MIN_SCORE = 0.001; // lower scores are not listed

export class VerdictCard {
  /** Whether it is near the visible area; other cards are rendered later. */
  near = false;
  #outdated = true; // whether it must be rendered again
  /** @type {Policy | null} */
  #renderedPolicy = null;
  /** Identifies the content of the frame, which is only replaced when this changes. */
  #frameKey = "";
  #heatMapOn = false; // whether the toggle is on
  #hovered = false; // whether a pointer hovers over the picture, or it has the focus
  #heatMapRequest = 0; // number of the latest heat map request; responses to older ones are discarded

  /** @param {Item} item @param {CardServices} services */
  constructor(item, services) {
    this.item = item;
    this.services = services;
    this.element = h("li", { class: "sl-moderate-card" });
    this.pictureBox = h("div", { class: "sl-moderate-picture" });
    this.verdictBox = h("div", { class: "sl-moderate-verdict" });
    this.heatMapToggle = button({ label: t("moderate.heat"), kind: "quiet", "aria-pressed": "false", onclick: () => this.#toggleHeatMap() });
  }

  /** Render the card under a policy, now or when it comes near the visible area. @param {Policy} policy @param {boolean} [force]  even if nothing seems to have changed */
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

  /** @param {Evaluation | null} evaluation */
  async #renderFrame(evaluation) {
    const content = evaluation?.decision ?? this.item.state;
    const key = content === "block" ? `block ${evaluation?.unsafe}` : content;
    if (key === this.#frameKey) return;
    this.#frameKey = key;
    this.#heatMapOn = false;
    if (!evaluation || evaluation.decision === "error") return setChildren(this.pictureBox, this.#placeholder(evaluation));
    const picture = { id: "", width: 4, height: 3, decision: evaluation.decision, unsafe: evaluation.unsafe, prompt: this.item.name };
    if (evaluation.decision === "block") return setChildren(this.pictureBox, pictureFrame(picture, { src: "" }));
    const thumbnail = await this.services.thumbnails.get(this.item.file);
    if (key !== this.#frameKey) return; // another policy was selected meanwhile
    setChildren(
      this.pictureBox,
      thumbnail ? pictureFrame(picture, { src: thumbnail.url, lazy: false, onopen: () => this.#openDialog() }) : this.#placeholder(evaluation),
    );
    this.#renderToggle(evaluation);
    void this.#updateHeatMap();
  }

  /** What is shown instead of a picture. @param {Evaluation | null} evaluation */
  #placeholder(evaluation) {
    const textKey = evaluation === null ? `moderate.${this.item.state}.picture` : evaluation.decision === "error" ? "moderate.unjudged" : "moderate.unreadable";
    const image = icon(evaluation?.decision === "error" ? "warning" : evaluation ? "eye" : "shield");
    return h("div", { class: `sl-frame sl-moderate-blank sl-is-${evaluation ? evaluation.decision : this.item.state}` }, image, h("p", {}, t(textKey)));
  }

  /** @param {Evaluation} evaluation @param {Policy} policy */
  #verdictElements(evaluation, policy) {
    const { failure } = evaluation;
    const scores = this.item.verdict?.scores ?? {};
    const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
    const label = failure ? undefined : decidingLabel(scores, policy);
    return [
      decisionBadge(evaluation),
      failure && h("div", { class: "sl-moderate-failure" }, h("p", {}, errorText(failure)), isServersText(failure) && failure.hint && h("p", { class: "sl-hint" }, failure.hint)),
      label !== undefined && scoreBar(label, scores[label], policy),
      rows.length > 0 && h("ul", { class: "sl-moderate-scores", "aria-label": t("moderate.scores") },
        rows.filter(([, score], index) => index < 2 || score >= MIN_SCORE).map(([name, score]) => h("li", {}, name, " ", h("b", {}, formatPercent(score, 1))))),
      ...(this.item.verdict?.notes ?? []).map((note) => h("p", { class: "sl-hint" }, note)),
    ];
  }

  /** Whether the picture is visible, not blurred. */
  get #pictureVisible() {
    return this.pictureBox.querySelector("img") !== null && this.pictureBox.querySelector(".sl-blurred") === null;
  }

  /** @param {Evaluation | null} evaluation */
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

  /** Show the heat map over the picture, or remove it. */
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
      if (request !== this.#heatMapRequest || this.services.heatMaps.unsupported !== null) return; // then the message is shown above all cards
      frame?.append(h("span", { class: "sl-moderate-heat sl-is-error", role: "status" }, error.message || t("error.offline")));
    }
  }

  /** The heat map of the frame that the verdict is about. */
  #fetchHeatMap() {
    return this.services.heatMaps.get(this.item.file, this.item.verdict?.frame ?? 0);
  }

  /** Show the picture in a dialog. */
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
 * A bar with the score and the thresholds.
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
