// Apply a policy to scores: the same rules as the server's moderation/policy.py, so that a changed threshold has an immediate effect.

/**
 * @typedef {import("./types").Decision} Decision
 * @typedef {import("./types").Policy} Policy
 * @typedef {Record<string, number | null>} Scores  probability by label; null: NaN, which JSON cannot represent
 */

const SEVERITY = /** @type {const} */ ({ allow: 0, review: 1, block: 2 });

/**
 * The most severe of the labels' decisions.
 * @param {Scores} scores  of at least one label; the policy must know each label, see unknownLabels
 * @param {Policy} policy
 * @returns {Decision}
 */
export function decide(scores, policy) {
  const decisions = Object.entries(scores).map(([label, score]) => decideLabel(label, score, policy));
  return decisions.reduce((worst, each) => (SEVERITY[each] > SEVERITY[worst] ? each : worst));
}

/**
 * The decision for one label's score.
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
  return value < thresholds.block ? "review" : "block"; // in this order, NaN is blocked
}

/**
 * The thresholds of an unsafe label, case-insensitive.
 * @param {string} label
 * @param {Policy} policy
 */
export function thresholdsOf(label, policy) {
  const name = label.toLowerCase();
  return Object.hasOwn(policy.unsafe, name) ? policy.unsafe[name] : undefined;
}

/**
 * The probability that a picture is unsafe, 0 to 1: the sum over unsafe labels.
 * @param {Scores} scores
 * @param {Policy} policy
 */
export function unsafeScore(scores, policy) {
  let total = 0;
  for (const [label, score] of Object.entries(scores)) if (thresholdsOf(label, policy)) total += score ?? NaN;
  return Number.isNaN(total) ? 1 : Math.min(1, Math.max(0, total));
}

/**
 * Labels that the policy does not list; they must not count as safe, so there is no decision.
 * @param {string[]} labels
 * @param {Policy} policy
 */
export const unknownLabels = (labels, policy) =>
  labels.filter((label) => !thresholdsOf(label, policy) && !policy.safe.includes(label.toLowerCase()));

/**
 * Whether a policy fits a classifier with these labels: it lists all of them, at least one as unsafe.
 * @param {string[]} labels
 * @param {Policy} policy
 */
export const fits = (labels, policy) =>
  unknownLabels(labels, policy).length === 0 && labels.some((label) => thresholdsOf(label, policy));

/**
 * A policy with one threshold changed; the other moves with it, so that block is never below review.
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
 * Whether two policies have the same rules.
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
