// Select a policy, and change its thresholds with sliders.

import { get } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { serverText } from "../core/server_text.js";
import { formatPercent, t } from "../core/text.js";
import { showError } from "../core/toast.js";
import { sameRules, withThreshold } from "../policy.js";

/** @typedef {import("../types").Policy} Policy */

const OPEN_WIDTH = 900; // pixels of the tab's width from which the thresholds are open initially

export class PolicyPanel {
  /** The server's policies, the default first. @type {Policy[]} */
  #policies = [];
  #selected = 0;
  /** The policy with the thresholds of the sliders. @type {Policy | null} */
  policy = null;
  /** The classifier's labels; empty: not known yet. @type {string[]} */
  #labels = [];
  /** Functions that update the rows of the labels. @type {(() => void)[]} */
  #updateRows = [];
  #frame = 0;

  /** @param {HTMLElement} root @param {() => void} onchange  called when the policy or a threshold has changed */
  constructor(root, onchange) {
    this.root = root;
    this.onchange = onchange;
    root.classList.add("sl-moderate-policy");
  }

  /** The policy as the server has it. */
  get base() {
    return this.#policies[this.#selected];
  }

  get custom() {
    return this.policy !== null && !sameRules(this.policy, this.base);
  }

  /** The policy's name for a request; null: the server's default. */
  get requestName() {
    return !this.base || this.base.default ? null : this.base.name;
  }

  /** Load the policies. @returns {Promise<boolean>}  whether that succeeded */
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
    void this.#guessLabels();
    return true;
  }

  /** Until the first verdict, the labels are those of the gallery's newest picture. */
  async #guessLabels() {
    const { entries } = await get("/v1/gallery?limit=1").catch(() => ({ entries: [] }));
    if (entries.length && !this.#labels.length) this.addLabels(Object.keys(entries[0].scores));
  }

  /** Add labels of the classifier; their thresholds are listed first. @param {string[]} labels */
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
    const about = h("p", { class: "sl-hint" }, this.base.description);
    void serverText(this.base.description).then((text) => (about.textContent = text));
    setChildren(
      this.root,
      h("label", { class: "sl-moderate-choose" }, h("span", {}, t("moderate.policy")), select),
      about,
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

  /** The slider for the policy's abstain band around the block threshold. */
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

  /** Call onchange at most once per frame. */
  #notifySoon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.onchange());
  }
}

/**
 * Set the zones allow, review and block of a bar as CSS variables: scores in the abstain band around block are reviewed.
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
