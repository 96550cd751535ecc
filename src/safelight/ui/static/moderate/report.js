// The report of a run as CSV or JSON lines, made in the page from the displayed results.

import { h } from "../core/dom.js";
import { sameRules } from "../policy.js";
import { evaluate } from "./evaluation.js";

/**
 * @typedef {import("../types").Policy} Policy
 * @typedef {import("./upload_queue.js").Item} Item
 */

const FORMULA_START = /^[=+\-@\t\r]/; // cells that spreadsheets would evaluate as formulas

/**
 * A row per judged file, with the keys of `safelight moderate --json` where they exist there.
 * @param {Item[]} items
 * @param {Policy} policy  with the sliders' thresholds
 * @param {Policy} base  as the server has it
 */
export function reportRows(items, policy, base) {
  const custom = !sameRules(policy, base);
  return items.flatMap((item) => {
    const evaluation = evaluate(item, policy);
    if (!evaluation) return [];
    const verdict = item.verdict;
    const decidedBy = verdict?.policy?.name === base.name && verdict.policy.version === base.version ? verdict.policy : null;
    return {
      file: item.name,
      decision: evaluation.decision,
      unsafe: evaluation.unsafe,
      scores: verdict?.scores ?? {},
      classifier: verdict?.classifier ?? null,
      policy: {
        name: custom ? `${base.name} (custom)` : base.name,
        version: base.version,
        digest: custom ? null : decidedBy?.digest ?? null,
        custom,
        abstain: policy.abstain,
        unsafe: policy.unsafe,
        safe: policy.safe,
      },
      frame: verdict?.frame ?? null,
      tile: verdict?.tile ?? null,
      notes: verdict?.notes ?? [],
      error: evaluation.failure && { code: evaluation.failure.code, message: evaluation.failure.message, hint: evaluation.failure.hint ?? "" },
    };
  });
}

/** @param {ReturnType<typeof reportRows>} report */
export const asJsonLines = (report) => report.map((row) => `${JSON.stringify(row)}\n`).join("");

/** @param {ReturnType<typeof reportRows>} report */
export function asCsv(report) {
  const labels = [...new Set(report.flatMap(({ scores }) => Object.keys(scores)))];
  const head = [
    "file", "decision", "unsafe", ...labels.map((label) => `score_${label}`), "frame", "tile",
    "classifier", "classifier_digest", "arithmetic",
    "policy", "policy_version", "policy_digest", "policy_custom", "policy_abstain", "policy_thresholds",
    "notes", "error_code", "error_message", "error_hint",
  ];
  const lines = report.map(({ file, decision, unsafe, scores, frame, tile, classifier, policy, notes, error }) => [
    file, decision, unsafe, ...labels.map((label) => scores[label]), frame, tile,
    classifier?.name, classifier?.digest, classifier?.arithmetic,
    policy.name, policy.version, policy.digest, String(policy.custom), policy.abstain, JSON.stringify(policy.unsafe),
    notes.join("; "), error?.code, error?.message, error?.hint,
  ]);
  return [head, ...lines].map((line) => `${line.map(csvCell).join(",")}\r\n`).join("");
}

/**
 * Download a text as a file.
 * @param {string} text
 * @param {string} name
 * @param {string} type
 */
export function downloadText(text, name, type) {
  const href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000); // the browser reads it after the click
}

/** @param {string | number | null | undefined} value */
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = FORMULA_START.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
