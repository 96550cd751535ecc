// What scores mean under a policy: the same rule as the server's (moderation/policy.py), so that a changed threshold shows at once.

/**
 * @typedef {import("./types").Decision} Decision
 * @typedef {import("./types").Policy} Policy
 * @typedef {Record<string, number | null>} Scores  Probability by label; null is what JSON makes of "not a number"
 */

const SEVERITY = /** @type {const} */ ({ allow: 0, review: 1, block: 2 });

/**
 * The worst of the labels' decisions.
 * @param {Scores} scores  each label must be known, see strangers; at least one
 * @param {Policy} policy
 * @returns {Decision}
 */
export function decide(scores, policy) {
  const decisions = Object.entries(scores).map(([label, score]) => decideLabel(label, score, policy));
  return decisions.reduce((worst, each) => (SEVERITY[each] > SEVERITY[worst] ? each : worst));
}

/**
 * What one label's score means.
 * @param {string} label
 * @param {number | null} score
 * @param {Policy} policy
 * @returns {Decision}
 */
export function decideLabel(label, score, policy) {
  const thresholds = thresholdsOf(label, policy);
  if (!thresholds) return "allow";
  const value = score ?? NaN;
  if (Math.abs(value - thresholds.block) < policy.abstain) return "review";
  if (value < thresholds.review) return "allow";
  return value < thresholds.block ? "review" : "block"; // in this order what is not a number ends as a block
}

/**
 * The thresholds of an unsafe label; case does not matter.
 * @param {string} label
 * @param {Policy} policy
 */
export function thresholdsOf(label, policy) {
  const name = label.toLowerCase();
  return Object.hasOwn(policy.unsafe, name) ? policy.unsafe[name] : undefined;
}

/**
 * Probability that a picture is unsafe: the sum over unsafe labels, 0 to 1.
 * @param {Scores} scores
 * @param {Policy} policy
 */
export function unsafeScore(scores, policy) {
  let total = 0;
  for (const [label, score] of Object.entries(scores)) if (thresholdsOf(label, policy)) total += score ?? NaN;
  return Number.isNaN(total) ? 1 : Math.min(1, Math.max(0, total));
}

/**
 * Labels that a policy does not mention: they never count as safe by omission, so nothing can be decided.
 * @param {string[]} labels
 * @param {Policy} policy
 */
export const unknownLabels = (labels, policy) =>
  labels.filter((label) => !thresholdsOf(label, policy) && !policy.safe.includes(label.toLowerCase()));

/**
 * Whether a policy can decide about a classifier with these labels: it knows all, and counts one as unsafe.
 * @param {string[]} labels
 * @param {Policy} policy
 */
export const fits = (labels, policy) =>
  unknownLabels(labels, policy).length === 0 && labels.some((label) => thresholdsOf(label, policy));

/**
 * The policy with one threshold changed; the other is moved along, so that block is never below review.
 * @param {Policy} policy
 * @param {string} label
 * @param {"review" | "block"} threshold
 * @param {number} value  0 to 1
 * @returns {Policy}
 */
export function withThreshold(policy, label, threshold, value) {
  const { review, block } = policy.unsafe[label];
  const changed =
    threshold === "review" ? { review: value, block: Math.max(value, block) } : { review: Math.min(review, value), block: value };
  return { ...policy, unsafe: { ...policy.unsafe, [label]: changed } };
}

/**
 * Whether two policies decide alike.
 * @param {Policy} one
 * @param {Policy} other
 */
export function sameRules(one, other) {
  const labels = Object.keys(one.unsafe);
  return (
    one.abstain === other.abstain &&
    labels.length === Object.keys(other.unsafe).length &&
    labels.every((label) => {
      const [mine, theirs] = [one.unsafe[label], other.unsafe[label]];
      return mine.review === theirs?.review && mine.block === theirs?.block;
    })
  );
}
