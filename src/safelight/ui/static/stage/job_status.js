// A job's state in words, and the commands that its state allows.

import { button } from "../core/dom.js";
import { isFinished } from "../core/job_store.js";
import { formatDuration, formatTime, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";

/** @typedef {import("../types").Job} Job */

/** What a job is called: its prompt, or what it does. @param {Job} job */
export function jobTitle(job) {
  if (job.kind === "scan" || job.kind === "preprocess") return t(`system.kind.${job.kind}`);
  if (job.kind !== "upscale") return job.request.prompt || t("jobs.no_prompt");
  const prompt = promptOf(job.result?.pictures?.[0]?.infotext ?? "");
  return prompt ? t("jobs.upscaled", { prompt }) : t("jobs.upscale");
}

/** The prompt in an infotext: what is before the lines of parameters. @param {string} infotext */
const promptOf = (infotext) => infotext.split(/\n(?=Negative prompt: |Steps: )/, 1)[0].replace(/^Steps: .*/s, "");

/** A job's state as text. @param {Job} job @param {boolean} [showOwner] */
export function statusText(job, showOwner = false) {
  const parts = [];
  const { progress } = job;
  if (job.state === "queued") {
    parts.push(job.position === null ? t("jobs.queued") : t("jobs.place", { place: job.position }));
  } else if (job.state === "running") {
    const stage = t(`stage.${progress?.stage ?? "loading"}`);
    parts.push(progress && progress.steps > 1 ? t("jobs.step", { stage, step: progress.step, steps: progress.steps }) : stage);
    if (progress && progress.pictures > 1) parts.push(t("jobs.picture", { picture: progress.picture + 1, pictures: progress.pictures }));
    if (job.attempt > 1) parts.push(t("jobs.again"));
  } else {
    parts.push(t(`jobs.${job.state}`, { time: formatTime(job.ended ?? job.created) }));
    if (job.started && job.ended && job.state === "succeeded") parts.push(formatDuration((Date.parse(job.ended) - Date.parse(job.started)) / 1000));
  }
  if (job.eta !== null && !isFinished(job)) parts.push(t("jobs.eta", { time: formatDuration(job.eta) }));
  if (showOwner) parts.push(job.owner);
  return parts.join(" · ");
}

/** Percent of a job that is done, whole. @param {Job} job */
export const percentDone = (job) => Math.round((job.progress?.fraction ?? 0) * 100);

/** What an unfinished job can be told: skip a picture, finish with those there are, stop. @param {Job} job @returns {{name: "skip" | "finish" | "cancel", icon: "right" | "check" | "stop", label: string}[]} */
export function jobCommands({ state, kind, request }) {
  const generating = state === "running" && kind === "generate";
  /** @type {ReturnType<typeof jobCommands>} */
  const commands = [];
  if (generating && (request.count ?? 1) > 1) commands.push({ name: "skip", icon: "right", label: t("jobs.skip") });
  if (generating) commands.push({ name: "finish", icon: "check", label: t("jobs.finish") });
  if (state === "queued" || state === "running") commands.push({ name: "cancel", icon: "stop", label: t(state === "queued" ? "jobs.cancel" : "jobs.stop") });
  return commands;
}

/** Buttons for an unfinished job's commands. @param {Job} job @param {import("../core/job_store.js").JobStore} jobStore */
export function jobButtons(job, jobStore) {
  return jobCommands(job).map(({ name, icon, label }) =>
    button({ icon, label, iconOnly: name !== "cancel", title: label, onclick: withErrorToast(() => jobStore.sendCommand(name, job.id)), ...(name === "cancel" && { class: "sl-button sl-stop" }) }));
}
