// Beside the picture: its words, its parameters, what the policy said, and what can be done with it.

import { fill, h } from "../core/dom.js";
import { badge } from "../core/picture.js";
import { percent, t } from "../core/text.js";
import { factsOf } from "./facts.js";

/** @typedef {import("../types").Entry} Entry */

/**
 * Show an entry in the panel.
 * @param {HTMLElement} words  where its words go
 * @param {HTMLElement} rest  where everything else goes; what can be done with it stays between them
 * @param {Entry} entry
 */
export function showPanel(words, rest, entry) {
  fill(
    words,
    h("section", {}, heading("viewer.prompt"), h("p", { class: "sl-viewer-words" }, entry.prompt || t("viewer.no_prompt"))),
    entry.negative_prompt &&
      h("section", {}, heading("viewer.negative"), h("p", { class: "sl-viewer-words" }, entry.negative_prompt)),
  );
  fill(
    rest,
    h("section", {}, heading("viewer.parameters"), listOf(factsOf(entry))),
    h("section", {}, heading("viewer.policy"), h("p", {}, badge(entry), " ", entry.policy ?? ""), scoresOf(entry)),
    entry.tags.length > 0 && h("section", {}, heading("viewer.tags"), h("p", {}, entry.tags.join(", "))),
  );
}

/** @param {string} key */
const heading = (key) => h("h3", {}, t(key));

/** @param {Map<string, string>} facts */
const listOf = (facts) =>
  h("dl", { class: "sl-viewer-facts" }, [...facts].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

/** Each label's probability, the highest first. @param {Entry} entry */
function scoresOf({ scores }) {
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
          h("span", {}, percent(score, 1)),
        ),
      ),
    )
  );
}
