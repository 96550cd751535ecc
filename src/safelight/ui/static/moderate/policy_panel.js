// The policy that decides: which one, and its thresholds as sliders.

import { get } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { percent, t } from "../core/text.js";
import { complain } from "../core/toast.js";
import { sameRules, withThreshold } from "../policy.js";

/** @typedef {import("../types").Policy} Policy */

const WIDE = 900; // pixels from which on the thresholds are shown without being asked for

export class PolicyPanel {
  /** The server's policies, its own first. @type {Policy[]} */
  #policies = [];
  #chosen = 0;
  /** With the thresholds as they are now. @type {Policy | null} */
  policy = null;
  /** Labels that the classifier gives; empty: not known yet. @type {string[]} */
  #labels = [];
  /** Draw each label's row anew. @type {(() => void)[]} */
  #draws = [];
  #due = 0;

  /** @param {HTMLElement} root @param {() => void} onchange  another policy or other thresholds */
  constructor(root, onchange) {
    this.root = root;
    this.onchange = onchange;
    root.classList.add("sl-moderate-policy");
  }

  /** As the server has it. */
  get base() {
    return this.#policies[this.#chosen];
  }

  get custom() {
    return this.policy !== null && !sameRules(this.policy, this.base);
  }

  /** What to call it in a request; null: the server's own. */
  get asked() {
    return !this.base || this.base.default ? null : this.base.name;
  }

  /** Ask the server for its policies. @returns {Promise<boolean>}  Whether there are any. */
  async load() {
    fill(this.root, h("p", { class: "sl-hint", role: "status" }, t("moderate.policy.loading")));
    try {
      /** @type {Policy[]} */
      const policies = (await get("/v1/policies")).policies;
      this.#policies = policies.sort((one, other) => Number(other.default) - Number(one.default));
    } catch (error) {
      fill(
        this.root,
        h("p", {}, t("moderate.policy.failed")),
        button({ icon: "reuse", label: t("moderate.again"), onclick: () => void this.load() }),
      );
      complain(error);
      return false;
    }
    this.#choose(0);
    return true;
  }

  /** Which labels there are: those come first. @param {string[]} labels */
  know(labels) {
    const names = [...new Set([...this.#labels, ...labels.map((label) => label.toLowerCase())])];
    if (names.length === this.#labels.length) return;
    this.#labels = names;
    this.#showThresholds();
  }

  /** @param {number} index */
  #choose(index) {
    this.#chosen = index;
    this.policy = this.base;
    this.#show();
    this.#changed();
  }

  #show() {
    const options = this.#policies.map(({ name, default: own }, index) =>
      h("option", { value: index, selected: index === this.#chosen }, own ? t("moderate.policy.own", { name }) : name),
    );
    const select = h("select", { class: "sl-field", onchange: () => this.#choose(Number(select.value)) }, options);
    this.mark = h("span", { class: "sl-badge sl-review" }, t("moderate.policy.custom"));
    this.reset = button({ icon: "undo", label: t("moderate.policy.reset"), kind: "quiet", onclick: () => this.#choose(this.#chosen) });
    const open = this.thresholds?.closest("details")?.open ?? this.root.parentElement?.clientWidth ?? 0;
    this.thresholds = h("div", { class: "sl-moderate-thresholds" });
    fill(
      this.root,
      h("label", { class: "sl-moderate-choose" }, h("span", {}, t("moderate.policy")), select),
      this.base.description && h("p", { class: "sl-hint" }, this.base.description),
      h(
        "details",
        { open: typeof open === "boolean" ? open : open >= WIDE },
        h("summary", {}, t("moderate.thresholds"), this.mark),
        this.thresholds,
        this.reset,
        h("p", { class: "sl-hint" }, t("moderate.thresholds.hint")),
      ),
    );
    this.#showThresholds();
  }

  #showThresholds() {
    if (!this.policy || !this.thresholds) return;
    const names = Object.keys(this.policy.unsafe);
    const used = names.filter((name) => !this.#labels.length || this.#labels.includes(name));
    const others = names.filter((name) => !used.includes(name));
    this.#draws = [];
    fill(
      this.thresholds,
      used.map((name) => this.#label(name)),
      this.#band(),
      others.length > 0 &&
        h("details", { class: "sl-moderate-others" },
          h("summary", {}, t("moderate.thresholds.others", { n: others.length })), others.map((name) => this.#label(name))),
    );
    this.#markCustom();
  }

  /** Both thresholds of a label on one track. @param {string} label */
  #label(label) {
    const says = { review: h("output", {}), block: h("output", {}) };
    const sliders = { review: this.#slider(label, "review"), block: this.#slider(label, "block") };
    const row = h(
      "fieldset",
      { class: "sl-moderate-label" },
      h("legend", {}, label),
      h("div", { class: "sl-moderate-says" },
        h("span", {}, t("moderate.review"), " ", says.review), h("span", {}, t("moderate.block"), " ", says.block)),
      h("div", { class: "sl-moderate-track" }, sliders.review, sliders.block),
    );
    const show = () => {
      const { abstain, unsafe } = /** @type {Policy} */ (this.policy);
      const { review, block } = unsafe[label];
      for (const [name, value] of /** @type {const} */ ([["review", review], ["block", block]])) {
        says[name].textContent = percent(value);
        if (sliders[name].valueAsNumber !== value) sliders[name].value = String(value);
        sliders[name].setAttribute("aria-valuetext", percent(value));
      }
      drawZones(row, { review, block, abstain });
    };
    row.addEventListener("input", show);
    this.#draws.push(show);
    show();
    return row;
  }

  /** @param {string} label @param {"review" | "block"} which */
  #slider(label, which) {
    const slider = h("input", {
      type: "range", min: 0, max: 1, step: 0.01, class: `sl-moderate-${which}`,
      "aria-label": t(`moderate.${which}.from`, { label }),
      oninput: () => this.#set(withThreshold(/** @type {Policy} */ (this.policy), label, which, slider.valueAsNumber)),
    });
    return slider;
  }

  /** The band of doubt around block. */
  #band() {
    const abstain = () => /** @type {Policy} */ (this.policy).abstain;
    const says = h("output", {}, `± ${percent(abstain())}`);
    const slider = h("input", {
      type: "range", min: 0, max: 0.5, step: 0.01, value: abstain(), "aria-valuetext": `± ${percent(abstain())}`,
      oninput: () => {
        this.#set({ .../** @type {Policy} */ (this.policy), abstain: slider.valueAsNumber });
        says.textContent = `± ${percent(abstain())}`;
        slider.setAttribute("aria-valuetext", says.textContent);
        for (const draw of this.#draws) draw();
      },
    });
    return h("label", { class: "sl-moderate-band" },
      h("span", {}, t("moderate.band"), " ", says), slider, h("span", { class: "sl-hint" }, t("moderate.band.hint")));
  }

  /** @param {Policy} policy */
  #set(policy) {
    this.policy = policy;
    this.#markCustom();
    this.#changed();
  }

  #markCustom() {
    if (this.mark) this.mark.hidden = !this.custom;
    if (this.reset) this.reset.hidden = !this.custom;
  }

  /** Tell once a frame, however fast a slider is moved. */
  #changed() {
    cancelAnimationFrame(this.#due);
    this.#due = requestAnimationFrame(() => this.onchange());
  }
}

/**
 * Where allow, review and block lie on a bar, as numbers for the style sheet: the band around block goes to review.
 * @param {HTMLElement} bar
 * @param {{review: number, block: number, abstain: number}} thresholds
 */
export function drawZones(bar, { review, block, abstain }) {
  const from = Math.max(0, Math.min(review, block - abstain));
  const to = Math.min(1, block + abstain);
  bar.style.setProperty("--review", share(from));
  bar.style.setProperty("--block", share(to));
}

/** @param {number} value  0 to 1 */
const share = (value) => `${(value * 100).toFixed(2)}%`;
