// The menu of a job or picture in the film strip: the picture's actions, the commands of an unfinished job, and to remove an ended one.

import { post } from "../core/api.js";
import { isFinished } from "../core/job_store.js";
import { openMenu } from "../core/menu.js";
import { t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { jobCommands, jobTitle } from "./job_status.js";

/** @typedef {import("./strip.js").Selection} Selection */

/**
 * @param {import("../types").PageContext} context
 * @param {import("../core/job_pictures.js").JobPictures} pictures
 * @param {{stage: import("./stage.js").Stage, choose: (selection: Selection) => void}} parts  choose: shows something on the stage
 * @returns {(selection: Selection, place: import("../core/popover.js").Place) => void}  opens the menu
 */
export function stripMenu({ jobStore }, pictures, { stage, choose }) {
  return (selection, place) => {
    const job = jobStore.jobs.get(selection.jobId);
    if (!job) return;
    const picture = pictures.of(job.id).find(({ index }) => index === selection.index);
    const actions = picture ? stage.actions.menuItems(picture, place, {
      open: () => (choose(selection), stage.open()),
      compare: () => (choose(selection), stage.actions.compare(picture)),
    }) : [];
    /** @type {import("../core/popover.js").MenuItem[]} */
    const ofJob = jobCommands(job).map(({ name, icon, label }) => ({ icon, label, run: withErrorToast(() => jobStore.sendCommand(name, job.id)) }));
    const remove = isFinished(job) && { icon: /** @type {const} */ ("close"), label: t("jobs.remove"), run: withErrorToast(() => post("/v1/jobs/clear", { ids: [job.id] })) };
    openMenu(place, jobTitle(job), [...actions, ...ofJob, ...(remove ? [remove] : [])]);
  };
}
