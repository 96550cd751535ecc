// A card of the networks browser: preview, name, what it is, its trigger words, and buttons.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

/** @typedef {import("../types").Adapter} Adapter */
/** @typedef {{insert: (network: Adapter) => void, words: (network: Adapter) => void, favourite: (network: Adapter) => void, details: (network: Adapter) => void}} CardCalls */

const SIDE = 256;

/** @param {Adapter} network @param {CardCalls} calls @returns {HTMLElement} */
export function makeCard(network, calls) {
  const { name, place, favourite, fits, trigger_words } = network;
  const insert = h("button", { type: "button", class: "sl-net-insert", "aria-pressed": "false", "data-does": "insert", title: place, onclick: () => calls.insert(network) },
    previewPicture(network),
    fits === false && h("span", { class: "sl-net-other" }, t("networks.for", { family: network.family ?? "" })),
    h("span", { class: "sl-net-check" }, icon("check")),
    h("span", { class: "sl-net-name" }, name),
    h("span", { class: "sl-net-kind" }, kindText(network)));
  return h("div", { class: `sl-net-card${fits === false ? " sl-net-unfit" : ""}`, role: "listitem", "data-network": network.id },
    insert,
    trigger_words.length > 0 && h("button", { type: "button", class: "sl-net-words", "data-does": "words", title: t("networks.words", { words: trigger_words.join(", ") }), "aria-label": t("networks.words", { words: trigger_words.join(", ") }), onclick: () => calls.words(network) }, icon("plus"), h("span", {}, trigger_words.join(", "))),
    button({ icon: "heart", label: t("networks.favourite", { name }), iconOnly: true, class: "sl-button sl-bare sl-heart", "data-does": "favourite", "aria-pressed": String(favourite), onclick: () => calls.favourite(network) }),
    button({ icon: "info", label: t("networks.details", { name }), iconOnly: true, class: "sl-button sl-bare sl-net-info", "data-does": "details", onclick: () => calls.details(network) }));
}

/** A network's preview, or what stands for it. @param {Adapter} network @param {number} [side] */
export function previewPicture({ preview }, side = SIDE) {
  const none = (/** @type {Parameters<typeof icon>[0]} */ name) => h("span", { class: "sl-net-picture sl-net-none" }, icon(name));
  if (!preview) return none("picture");
  const image = h("img", { class: "sl-net-picture", src: `${preview}&side=${side}`, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(none("shield"))); // the policy does not allow it, or it is no picture
  return image;
}

/** What a network is, in a line. @param {Adapter} network */
export function kindText({ kind, types, rank, family }) {
  const size = rank === null ? "" : t(kind === "LoRA" ? "networks.rank" : "networks.vectors", { n: rank });
  return [kind === "LoRA" ? types.join(" + ") || kind : t("networks.embedding"), size, family].filter(Boolean).join(" · ");
}
