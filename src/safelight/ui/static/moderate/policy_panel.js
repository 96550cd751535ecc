// The policy that decides: which one, and its thresholds as sliders.

import { get } from "../core/api.js";
import { button, setChildren, h } from "../core/dom.js";
import { formatPercent, t } from "../core/text.js";
import { showError } from "../core/toast.js";
import { sameRules, withThreshold } from "../policy.js";

/** @typedef {import("../types").Policy} Policy */

const OPEN_WIDTH = 900; // pixels from which on the thresholds are shown without being asked for

export class PolicyPanel {
  /** The server's policies, its own first. @type {Policy[]} */
  #policies = [];
  #selected = 0;
  /** With the thresholds as they are now. @type {Policy | null} */
  policy = null;
  /** Labels that the classifier gives; empty: not known yet. @type {string[]} */
  #labels = [];
  /** Draw each label's row anew. @type {(() => void)[]} */
  #updateRows = [];
  #frame = 0;

  /** @param {HTMLElement} root @param {() => void} onchange  another policy or other thresholds */
  constructor(root, onchange) {
    this.root = root;
    this.onchange = onchange;
    root.classList.add("sl-moderate-policy");
  }

  /** As the server has it. */
  get base() {
    return this.#policies[this.#selected];
  }

  get custom() {
    return this.policy !== null && !sameRules(this.policy, this.base);
  }

  /** What to call it in a request; null: the server's own. */
  get requestName() {
    return !this.base || this.base.default ? null : this.base.name;
  }

  /** Ask the server for its policies. @returns {Promise<boolean>}  Whether there are any. */
  async load() {
    setChildren(this.root, h("p", { class: "sl-hint", role: "status" }, t("moderate.policy.loading")));
    try {
      /** @type {Policy[]} */
      const policies = (await get("/v1/policies")).policies;
      this.#policies = policies.sort((one, other) => Number(other.default) - Number(one.default));
    } catch (error) {
      setChildren(
        this.root,
        h("p", {}, t("moderate.policy.failed")),
        button({ icon: "reuse", label: t("moderate.again"), onclick: () => void this.load() }),
      );
      showError(error);
      return false;
    }
    this.#select(0);
    return true;
  }

  /** Which labels there are: those come first. @param {string[]} labels */
  addLabels(labels) {
    const names = [...new Set([...this.#labels, ...labels.map((label) => label.toLowerCase())])];
    if (names.length === this.#labels.length) return;
    this.#labels = names;
    this.#renderThresholds();
  }

  /** @param {number} index */
  #select(index) {
    this.#selected = index;
    this.policy = this.base;
    this.#render();
    this.#notifySoon();
  }

  #render() {
    const options = this.#policies.map(({ name, default: isDefault }, index) =>
      h("option", { value: index, selected: index === this.#selected }, isDefault ? t("moderate.policy.own", { name }) : name),
    );
    const select = h("select", { class: "sl-field", onchange: () => this.#select(Number(select.value)) }, options);
    this.customBadge = h("span", { class: "sl-badge sl-review" }, t("moderate.policy.custom"));
    this.reset = button({ icon: "undo", label: t("moderate.policy.reset"), kind: "quiet", onclick: () => this.#select(this.#selected) });
    const open = this.thresholds?.closest("details")?.open ?? this.root.parentElement?.clientWidth ?? 0;
    this.thresholds = h("div", { class: "sl-moderate-thresholds" });
    setChildren(
      this.root,
      h("label", { class: "sl-moderate-choose" }, h("span", {}, t("moderate.policy")), select),
      this.base.description && h("p", { class: "sl-hint" }, this.base.description),
      h(
        "details",
        { open: typeof open === "boolean" ? open : open >= OPEN_WIDTH },
        h("summary", {}, t("moderate.thresholds"), this.customBadge),
        this.thresholds,
        this.reset,
        h("p", { class: "sl-hint" }, t("moderate.thresholds.hint")),
      ),
    );
    this.#renderThresholds();
  }

  #renderThresholds() {
    if (!this.policy || !this.thresholds) return;
    const names = Object.keys(this.policy.unsafe);
    const used = names.filter((name) => !this.#labels.length || this.#labels.includes(name));
    const others = names.filter((name) => !used.includes(name));
    this.#updateRows = [];
    setChildren(
      this.thresholds,
      used.map((name) => this.#labelRow(name)),
      this.#abstainSlider(),
      others.length > 0 &&
        h("details", { class: "sl-moderate-others" },
          h("summary", {}, t("moderate.thresholds.others", { n: others.length })), others.map((name) => this.#labelRow(name))),
    );
    this.#renderCustom();
  }

  /** Both thresholds of a label on one track. @param {string} label */
  #labelRow(label) {
    const values = { review: h("output", {}), block: h("output", {}) };
    const sliders = { review: this.#slider(label, "review"), block: this.#slider(label, "block") };
    const row = h(
      "fieldset",
      { class: "sl-moderate-label" },
      h("legend", {}, label),
      h("div", { class: "sl-moderate-says" },
        h("span", {}, t("moderate.review"), " ", values.review), h("span", {}, t("moderate.block"), " ", values.block)),
      h("div", { class: "sl-moderate-track" }, sliders.review, sliders.block),
    );
    const show = () => {
      const { abstain, unsafe } = /** @type {Policy} */ (this.policy);
      const { review, block } = unsafe[label];
      for (const [name, value] of /** @type {const} */ ([["review", review], ["block", block]])) {
        values[name].textContent = formatPercent(value);
        if (sliders[name].valueAsNumber !== value) sliders[name].value = String(value);
        sliders[name].setAttribute("aria-valuetext", formatPercent(value));
      }
      setZones(row, { review, block, abstain });
    };
    row.addEventListener("input", show);
    this.#updateRows.push(show);
    show();
    return row;
  }

  /** @param {string} label @param {"review" | "block"} threshold */
  #slider(label, threshold) {
    const slider = h("input", {
      type: "range", min: 0, max: 1, step: 0.01, class: `sl-moderate-${threshold}`,
      "aria-label": t(`moderate.${threshold}.from`, { label }),
      oninput: () => this.#setPolicy(withThreshold(/** @type {Policy} */ (this.policy), label, threshold, slider.valueAsNumber)),
    });
    return slider;
  }

  /** The band of doubt around block. */
  #abstainSlider() {
    const abstain = () => /** @type {Policy} */ (this.policy).abstain;
    const output = h("output", {}, `± ${formatPercent(abstain())}`);
    const slider = h("input", {
      type: "range", min: 0, max: 0.5, step: 0.01, value: abstain(), "aria-valuetext": `± ${formatPercent(abstain())}`,
      oninput: () => {
        this.#setPolicy({ .../** @type {Policy} */ (this.policy), abstain: slider.valueAsNumber });
        output.textContent = `± ${formatPercent(abstain())}`;
        slider.setAttribute("aria-valuetext", output.textContent);
        for (const draw of this.#updateRows) draw();
      },
    });
    return h("label", { class: "sl-moderate-band" },
      h("span", {}, t("moderate.band"), " ", output), slider, h("span", { class: "sl-hint" }, t("moderate.band.hint")));
  }

  /** @param {Policy} policy */
  #setPolicy(policy) {
    this.policy = policy;
    this.#renderCustom();
    this.#notifySoon();
  }

  #renderCustom() {
    if (this.customBadge) this.customBadge.hidden = !this.custom;
    if (this.reset) this.reset.hidden = !this.custom;
  }

  /** Tell once a frame, however fast a slider is moved. */
  #notifySoon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.onchange());
  }
}

/**
 * Where allow, review and block lie on a bar, as numbers for the style sheet: the band around block goes to review.
 * @param {HTMLElement} bar
 * @param {{review: number, block: number, abstain: number}} thresholds
 */
export function setZones(bar, { review, block, abstain }) {
  const from = Math.max(0, Math.min(review, block - abstain));
  const to = Math.min(1, block + abstain);
  bar.style.setProperty("--review", cssPercent(from));
  bar.style.setProperty("--block", cssPercent(to));
}

/** @param {number} value  0 to 1 */
const cssPercent = (value) => `${(value * 100).toFixed(2)}%`;
