// Evaluate a file's scores under the selected policy.

import { t } from "../core/text.js";
import { decide, decideLabel, fits, unknownLabels, unsafeScore } from "../policy.js";

/**
 * @typedef {import("../types").Decision} Decision
 * @typedef {import("../types").ErrorBody} ErrorBody
 * @typedef {import("./upload_queue.js").Item} Item
 * @typedef {{decision: Decision | "error", unsafe: number | null, failure: ErrorBody | null}} Evaluation
 */

/**
 * @param {Item} item
 * @param {import("../types").Policy} policy
 * @returns {Evaluation | null}  null: there is no verdict yet
 */
export function evaluate(item, policy) {
  if (item.failure) return { decision: "error", unsafe: null, failure: item.failure };
  if (!item.verdict) return null;
  const { scores } = item.verdict;
  const labels = Object.keys(scores);
  if (!fits(labels, policy)) return { decision: "error", unsafe: null, failure: labelMismatch(labels, policy) };
  return { decision: decide(scores, policy), unsafe: unsafeScore(scores, policy), failure: null };
}

/**
 * The unsafe label that determines the decision: the most severe, then the one with the highest score.
 * @param {Record<string, number>} scores
 * @param {import("../types").Policy} policy
 */
export function decidingLabel(scores, policy) {
  const weight = { allow: 0, review: 1, block: 2 };
  const unsafe = Object.entries(scores).filter(([label]) => !policy.safe.includes(label.toLowerCase()));
  unsafe.sort(([one, ownScore], [other, otherScore]) =>
    weight[decideLabel(other, otherScore, policy)] - weight[decideLabel(one, ownScore, policy)] || otherScore - ownScore);
  return unsafe[0]?.[0];
}

/** @param {string[]} labels @param {import("../types").Policy} policy @returns {ErrorBody} */
function labelMismatch(labels, policy) {
  const unknown = unknownLabels(labels, policy);
  const message = unknown.length
    ? t("moderate.policy.strangers", { policy: policy.name, labels: unknown.join(", ") })
    : t("moderate.policy.harmless", { policy: policy.name, labels: labels.join(", ") });
  return { code: "policy.labels", message, hint: t("moderate.policy.other") };
}
