// A picture's metadata as names and values, for the viewer's panel and for comparisons.

import { formatBytes, formatDateTime, formatNumber, t } from "../core/text.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

/** In an infotext: by how much the finished picture was upscaled, and with what. */
const UPSCALING = /\bPostprocess upscale by: ([\d.]+).*\bPostprocess upscaler: ([^,\n]+)/;

/**
 * A picture's parameters in display order; unknown ones are omitted.
 * @param {GalleryEntry} entry
 * @returns {Map<string, string>}  by translated name
 */
export function metadataOf(entry) {
  const record = entry.record ?? {};
  const [, by, upscaler] = entry.infotext?.match(UPSCALING) ?? [];
  const values = {
    size: `${entry.width} × ${entry.height}`,
    upscaled: by && `× ${formatNumber(Number(by))} · ${upscaler}`,
    seed: entry.seed,
    variation: record.variation ? `${record.variation.seed} · ${formatNumber(record.variation.strength)}` : null,
    steps: entry.steps,
    sampler: [entry.sampler, record.schedule].filter(Boolean).join(" · "),
    guidance: record.guidance_scale === undefined ? null : formatNumber(record.guidance_scale),
    strength: typeof record.strength === "number" ? formatNumber(record.strength) : null,
    checkpoint: entry.checkpoint,
    created: formatDateTime(entry.created),
    file: entry.kind && `${entry.kind.toUpperCase()} · ${formatBytes(entry.size)}`,
  };
  const entries = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new Map(entries.map(([name, value]) => [t(`viewer.fact.${name}`), String(value)]));
}

/**
 * The differences between two pictures.
 * @param {GalleryEntry} one
 * @param {GalleryEntry} other
 * @returns {[name: string, one: string, other: string][]}
 */
export function differences(one, other) {
  const [left, right] = [one, other].map(
    (entry) => new Map([[t("viewer.prompt"), entry.prompt], [t("viewer.negative"), entry.negative_prompt], ...metadataOf(entry)]),
  );
  return [...new Set([...left.keys(), ...right.keys()])]
    .map((name) => /** @type {[string, string, string]} */ ([name, left.get(name) ?? "", right.get(name) ?? ""]))
    .filter(([, a, b]) => a !== b);
}
