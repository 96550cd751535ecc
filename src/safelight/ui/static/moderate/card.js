// One file's card: its picture as far as it may be shown, the decision, and what it rests on.

import { ApiError } from "../core/api.js";
import { button, fill, h, icon } from "../core/dom.js";
import { dialog } from "../core/keys.js";
import { badge, framed } from "../core/picture.js";
import { percent, t } from "../core/text.js";
import { watched } from "../core/toast.js";
import { thresholdsOf } from "../policy.js";
import { heaviest, judged } from "./judged.js";
import { drawZones } from "./policy_panel.js";

/**
 * @typedef {import("./batches.js").Item} Item
 * @typedef {import("../types").Policy} Policy
 * @typedef {import("./judged.js").Judged} Judged
 * @typedef {{thumbnails: import("./thumbnails.js").Thumbnails, heat: import("./heat.js").Heat}} Means
 */

const DWELL = 300; // milliseconds on a picture after which its heat map is wanted
const LEAST = 0.001; // scores below are not worth a bar of their own

export class Card {
  /** Whether it is near enough to be looked at; others are filled when they are. */
  near = false;
  #stale = true; // what is drawn is not what is known
  /** @type {Policy | null} */
  #drawn = null;
  /** What the frame shows; it is only made anew where that is another. */
  #framed = "";
  #heated = false; // the toggle is on
  #over = false; // something points at it
  #asked = 0; // the newest wish for a heat map, so that older answers are dropped

  /** @param {Item} item @param {Means} means */
  constructor(item, means) {
    this.item = item;
    this.means = means;
    this.element = h("li", { class: "sl-moderate-card" });
    this.shelf = h("div", { class: "sl-moderate-picture" });
    this.says = h("div", { class: "sl-moderate-verdict" });
    this.toggle = button({ label: t("moderate.heat"), kind: "quiet", "aria-pressed": "false", onclick: () => this.#press() });
  }

  /** Show it under a policy, now or when it comes near. @param {Policy} policy @param {boolean} [again]  also where nothing seems to have changed */
  show(policy, again = false) {
    this.#stale ||= again || this.#drawn !== policy;
    if (!this.near || !this.#stale) return;
    this.#stale = false;
    this.#drawn = policy;
    if (!this.element.firstChild) this.#begin();
    const found = judged(this.item, policy);
    void this.#frame(found);
    fill(this.says, found ? this.#verdict(found, policy) : h("span", { class: "sl-badge" }, t(`moderate.${this.item.state}`)));
    this.#showToggle(found);
  }

  #begin() {
    const name = h("span", { class: "sl-moderate-name", title: this.item.name }, this.item.name);
    this.element.append(this.shelf, h("div", { class: "sl-moderate-about" }, name, this.says, this.toggle));
    this.shelf.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#point(true));
    this.shelf.addEventListener("pointerleave", () => this.#point(false));
    this.shelf.addEventListener("focusin", () => this.#point(true));
    this.shelf.addEventListener("focusout", () => this.#point(false));
    this.shelf.addEventListener("click", () => this.#showToggle(this.#drawn && judged(this.item, this.#drawn)));
  }

  /** @param {Judged | null} found */
  async #frame(found) {
    const wanted = found?.decision ?? this.item.state;
    const key = wanted === "block" ? `block ${found?.unsafe}` : wanted;
    if (key === this.#framed) return;
    this.#framed = key;
    this.#heated = false;
    if (!found || found.decision === "error") return fill(this.shelf, this.#blank(found));
    const picture = { id: "", width: 4, height: 3, decision: found.decision, unsafe: found.unsafe, prompt: this.item.name };
    if (found.decision === "block") return fill(this.shelf, framed(picture, { src: "" }));
    const thumbnail = await this.means.thumbnails.of(this.item.file);
    if (key !== this.#framed) return; // another policy meanwhile
    fill(
      this.shelf,
      thumbnail ? framed(picture, { src: thumbnail.url, lazy: false, onopen: () => this.#open() }) : this.#blank(found),
    );
    this.#showToggle(found);
    void this.#warm();
  }

  /** What stands where there is no picture to see. @param {Judged | null} found */
  #blank(found) {
    const says = found === null ? `moderate.${this.item.state}.picture` : found.decision === "error" ? "moderate.unjudged" : "moderate.unreadable";
    const image = icon(found?.decision === "error" ? "warning" : found ? "eye" : "shield");
    return h("div", { class: `sl-frame sl-moderate-blank sl-is-${found ? found.decision : this.item.state}` }, image, h("p", {}, t(says)));
  }

  /** @param {Judged} found @param {Policy} policy */
  #verdict(found, policy) {
    const { failure } = found;
    const scores = this.item.verdict?.scores ?? {};
    const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
    const label = failure ? undefined : heaviest(scores, policy);
    return [
      badge(found),
      failure && h("div", { class: "sl-moderate-failure" }, h("p", {}, failure.message), failure.hint && h("p", { class: "sl-hint" }, failure.hint)),
      label !== undefined && bar(label, scores[label], policy),
      rows.length > 0 && h("ul", { class: "sl-moderate-scores", "aria-label": t("moderate.scores") },
        rows.filter(([, score], index) => index < 2 || score >= LEAST).map(([name, score]) => h("li", {}, name, " ", h("b", {}, percent(score, 1))))),
      ...(this.item.verdict?.notes ?? []).map((note) => h("p", { class: "sl-hint" }, note)),
    ];
  }

  /** Whether its picture is there to be seen. */
  get #seen() {
    return this.shelf.querySelector("img") !== null && this.shelf.querySelector(".sl-veiled") === null;
  }

  /** @param {Judged | null} found */
  #showToggle(found) {
    const shown = found?.decision === "allow" || found?.decision === "review";
    this.toggle.hidden = !shown || this.shelf.querySelector(".sl-moderate-blank") !== null;
    const veiled = found?.decision === "review" && !this.#seen;
    this.toggle.disabled = this.means.heat.missing !== null || veiled;
    this.toggle.title = this.means.heat.missing ?? (veiled ? t("moderate.heat.veiled") : "");
    this.toggle.setAttribute("aria-pressed", String(this.#heated));
  }

  #press() {
    this.#heated = !this.#heated;
    this.toggle.setAttribute("aria-pressed", String(this.#heated));
    void this.#warm();
  }

  /** @param {boolean} over */
  #point(over) {
    if (over === this.#over) return;
    this.#over = over;
    if (over) setTimeout(() => this.#over && void this.#warm(), DWELL);
    else void this.#warm();
  }

  /** Lay the heat map over the picture, or take it away. */
  async #warm() {
    const asked = ++this.#asked;
    const frame = this.shelf.querySelector(".sl-frame");
    if (!(this.#heated || this.#over) || !this.#seen || this.means.heat.missing !== null) {
      this.shelf.querySelector(".sl-moderate-heat")?.remove();
      return;
    }
    try {
      const src = await this.#map();
      if (asked !== this.#asked || !frame?.isConnected) return;
      this.shelf.querySelector(".sl-moderate-heat")?.remove();
      frame.append(h("img", { class: "sl-moderate-heat", src, alt: t("moderate.heat.of", { name: this.item.name }) }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#heated = false;
      this.toggle.setAttribute("aria-pressed", "false");
      if (asked !== this.#asked || this.means.heat.missing !== null) return; // then it is said above all cards
      frame?.append(h("span", { class: "sl-moderate-heat sl-is-error", role: "status" }, error.message || t("error.offline")));
    }
  }

  /** The heat map of the frame that was judged. */
  #map() {
    return this.means.heat.of(this.item.file, this.item.verdict?.frame ?? 0);
  }

  /** The picture large. */
  #open() {
    const src = URL.createObjectURL(this.item.file);
    const image = h("img", { src, alt: this.item.name });
    const map = h("img", { alt: t("moderate.heat.of", { name: this.item.name }), hidden: true });
    const toggle = button({
      label: t("moderate.heat"), "aria-pressed": "false", disabled: this.means.heat.missing !== null, title: this.means.heat.missing,
      onclick: watched(async () => {
        const on = map.hidden;
        if (on) map.src = await this.#map();
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
function bar(label, score, policy) {
  const thresholds = thresholdsOf(label, policy);
  if (!thresholds) return null;
  const { review, block } = thresholds;
  const says = t("moderate.bar", { label, score: percent(score, 1), review: percent(review), block: percent(block) });
  const element = h("div", { class: "sl-moderate-bar", role: "img", "aria-label": says, title: says }, h("i", {}));
  element.style.setProperty("--score", `${((score ?? 1) * 100).toFixed(2)}%`);
  element.style.setProperty("--mark-review", `${review * 100}%`);
  element.style.setProperty("--mark-block", `${block * 100}%`);
  drawZones(element, { review, block, abstain: policy.abstain });
  return element;
}
