// What the page says where it isn't seen: progress in the title and the icon of its tab, and a notice when a job has ended.

import { isFinished } from "./core/job_store.js";
import { addressOf } from "./core/router.js";
import { formatPercent, t } from "./core/text.js";
import { notify } from "./queue/notices.js";
import { jobTitle } from "./stage/job_status.js";

/** @typedef {import("./types").Job} Job */

const NAME = "Safelight";
const INTERVAL = 1000; // milliseconds between two updates
const ICON_SIDE = 64; // pixels

/** @param {import("./types").PageContext} context */
export function startPresence({ me, jobStore }) {
  const icon = document.querySelector(/** @type {"link"} */ ('link[rel="icon"]'));
  const original = icon?.getAttribute("href") ?? "";
  const unfinishedNow = () => new Set(jobStore.newestFirst().filter((job) => !isFinished(job) && job.owner === me.owner).map(({ id }) => id));
  let unfinished = unfinishedNow(); // ids of the user's jobs
  let ended = false; // whether a job has ended while the page was hidden
  let updated = 0;
  let title = NAME;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const update = () => {
    timer = undefined;
    updated = performance.now();
    const mine = [...unfinished].map((id) => jobStore.jobs.get(id)).filter((job) => !!job);
    const running = mine.filter(({ state }) => state === "running");
    const fraction = running.reduce((sum, job) => sum + (job.progress?.fraction ?? 0), 0) / (running.length || 1);
    const state = running.length ? formatPercent(fraction) : mine.length ? t(jobStore.paused ? "presence.paused" : "presence.waiting", { n: mine.length }) : ended ? t("presence.done") : "";
    title = state ? `${state} · ${NAME}` : NAME;
    setTitle();
    if (icon) setIcon(icon, running.length ? ringIcon(Math.round(fraction * 50) / 50) : original);
  };
  const updateSoon = () => {
    timer ??= setTimeout(update, Math.max(0, updated + INTERVAL - performance.now()));
  };
  const setTitle = () => {
    if (document.title !== title) document.title = title;
  };
  new MutationObserver(setTitle).observe(document.head, { childList: true, subtree: true, characterData: true }); // Gradio sets it when it has loaded
  jobStore.subscribe((change) => {
    if (change.type === "job" && change.job.owner === me.owner) {
      if (isFinished(change.job) && unfinished.has(change.job.id)) onEnd(change.job);
      if (isFinished(change.job)) unfinished.delete(change.job.id);
      else unfinished.add(change.job.id);
    } else if (change.type === "jobs") {
      const before = [...unfinished].map((id) => jobStore.jobs.get(id)).filter((job) => !!job);
      unfinished = unfinishedNow();
      before.filter(isFinished).forEach(onEnd); // they have ended while the connection was lost
    } else if (change.type !== "queue") return;
    updateSoon();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !ended) return;
    ended = false;
    updateSoon();
  });
  updateSoon();

  /** @param {Job} job */
  function onEnd(job) {
    if (!document.hidden || job.state === "cancelled") return;
    ended = true;
    const address = job.kind === "scan" ? addressOf({ tab: "system" }) : addressOf({ tab: "create", path: [job.id] });
    void notify(t(`presence.${job.state}`), jobTitle(job), address);
  }
}

/** @param {HTMLLinkElement} icon @param {string} href */
function setIcon(icon, href) {
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
}

let drawnFraction = NaN, drawnIcon = "";

/** A ring that is filled to a fraction, as a data URI. @param {number} fraction */
function ringIcon(fraction) {
  if (fraction === drawnFraction) return drawnIcon;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = ICON_SIDE;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const middle = ICON_SIDE / 2, top = -Math.PI / 2;
  const arc = (/** @type {string} */ colour, /** @type {number} */ share) => {
    pen.beginPath();
    pen.strokeStyle = colour;
    pen.arc(middle, middle, middle - 8, top, top + share * 2 * Math.PI);
    pen.stroke();
  };
  pen.fillStyle = "#171412";
  pen.roundRect(0, 0, ICON_SIDE, ICON_SIDE, 15);
  pen.fill();
  pen.lineWidth = 9;
  arc("#4a3a2e", 1);
  arc("#ff9d5c", Math.max(fraction, 0.02));
  drawnFraction = fraction;
  drawnIcon = canvas.toDataURL();
  return drawnIcon;
}
