// What is to be said of a file under the policy that is chosen now.

import { t } from "../core/text.js";
import { decide, decideLabel, fits, strangers, unsafeScore } from "../policy.js";

/**
 * @typedef {import("../types").Decision} Decision
 * @typedef {import("../types").Failure} Failure
 * @typedef {import("./batches.js").Item} Item
 * @typedef {{decision: Decision | "error", unsafe: number | null, failure: Failure | null}} Judged
 */

/**
 * @param {Item} item
 * @param {import("../types").Policy} policy
 * @returns {Judged | null}  null: nothing is known yet
 */
export function judged(item, policy) {
  if (item.failure) return { decision: "error", unsafe: null, failure: item.failure };
  if (!item.verdict) return null;
  const { scores } = item.verdict;
  const labels = Object.keys(scores);
  if (!fits(labels, policy)) return { decision: "error", unsafe: null, failure: misfit(labels, policy) };
  return { decision: decide(scores, policy), unsafe: unsafeScore(scores, policy), failure: null };
}

/**
 * The label that weighs most: by its decision first, by its score then.
 * @param {Record<string, number>} scores
 * @param {import("../types").Policy} policy
 */
export function heaviest(scores, policy) {
  const weight = { allow: 0, review: 1, block: 2 };
  const unsafe = Object.entries(scores).filter(([label]) => !policy.safe.includes(label.toLowerCase()));
  unsafe.sort(([one, mine], [other, theirs]) =>
    weight[decideLabel(other, theirs, policy)] - weight[decideLabel(one, mine, policy)] || theirs - mine);
  return unsafe[0]?.[0];
}

/** @param {string[]} labels @param {import("../types").Policy} policy @returns {Failure} */
function misfit(labels, policy) {
  const unknown = strangers(labels, policy);
  const message = unknown.length
    ? t("moderate.policy.strangers", { policy: policy.name, labels: unknown.join(", ") })
    : t("moderate.policy.harmless", { policy: policy.name, labels: labels.join(", ") });
  return { code: "policy.labels", message, hint: t("moderate.policy.other") };
}
