// The panel next to the picture: prompt, parameters, and the policy's decision.

import { h, setChildren } from "../core/dom.js";
import { decisionBadge } from "../core/picture.js";
import { formatPercent, t } from "../core/text.js";
import { metadataOf } from "./metadata.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

/**
 * Show an entry in the panel.
 * @param {HTMLElement} promptSection  for the prompts
 * @param {HTMLElement} detailsSection  for everything else; the action buttons are between both
 * @param {GalleryEntry} entry
 */
export function showPanel(promptSection, detailsSection, entry) {
  setChildren(
    promptSection,
    h("section", {}, heading("viewer.prompt"), h("p", { class: "sl-viewer-words" }, entry.prompt || t("viewer.no_prompt"))),
    entry.negative_prompt &&
      h("section", {}, heading("viewer.negative"), h("p", { class: "sl-viewer-words" }, entry.negative_prompt)),
  );
  setChildren(
    detailsSection,
    h("section", {}, heading("viewer.parameters"), metadataList(metadataOf(entry))),
    h("section", {}, heading("viewer.policy"), h("p", {}, decisionBadge(entry), " ", entry.policy ?? ""), scoreList(entry)),
  );
}

/** @param {string} key */
const heading = (key) => h("h3", {}, t(key));

/** @param {Map<string, string>} metadata */
const metadataList = (metadata) =>
  h("dl", { class: "sl-viewer-facts" }, [...metadata].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

/** The labels' probabilities, highest first. @param {GalleryEntry} entry */
function scoreList({ scores }) {
  const labels = Object.entries(scores).sort(([, one], [, other]) => other - one);
  return (
    labels.length > 0 &&
    h(
      "ul",
      { class: "sl-viewer-scores" },
      labels.map(([label, score]) =>
        h(
          "li",
          {},
          h("span", {}, label),
          h("span", { class: "sl-viewer-bar-track", "aria-hidden": "true" }, h("span", { style: `width: ${score * 100}%` })),
          h("span", {}, formatPercent(score, 1)),
        ),
      ),
    )
  );
}
