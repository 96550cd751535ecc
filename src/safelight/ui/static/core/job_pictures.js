// The finished pictures of jobs: from their results, and while they run or where a result is too large to be sent, from the gallery.

import { get } from "./api.js";
import { isFinished } from "./job_store.js";
import { showError } from "./toast.js";

/** @typedef {import("../types").Job} Job */
/** @typedef {import("../types").OutputPicture} OutputPicture */
/** @typedef {{pictures: Map<number, OutputPicture>, fetching: boolean, fetchedUpTo: number, complete: boolean}} Known  pictures by index */

const MAX_PICTURES = 100; // pictures of one job that are loaded; all of them are in the gallery
const FETCH_INTERVAL = 500; // milliseconds between two requests for the pictures of a running job

export class JobPictures {
  /** @type {Map<string, Known>} */
  #known = new Map();
  /** Ids of pictures that are deleted, or are about to be. @type {Set<string>} */
  #removed = new Set();
  /** @type {Set<(jobId: string) => void>} */
  #listeners = new Set();

  constructor() {
    addEventListener("sl:entry", (event) => this.#onEntryChange(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {(jobId: string) => void} listener  called when the pictures of a job have changed */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  /** A job's finished pictures, in their order; deleted ones are left out. @param {string} jobId @returns {OutputPicture[]} */
  of(jobId) {
    const pictures = [...(this.#known.get(jobId)?.pictures.values() ?? [])];
    return pictures.filter(({ id }) => !this.#removed.has(id)).sort((one, other) => one.index - other.index);
  }

  /** Whether no further pictures of a job can come. @param {Job} job */
  isComplete(job) {
    return isFinished(job) && (job.result !== null || job.state !== "succeeded" || !!this.#known.get(job.id)?.complete);
  }

  /** Take a job's new pictures; those that it does not list are loaded. @param {Job} job */
  update(job) {
    const known = this.#knownOf(job.id);
    const finished = isFinished(job);
    if (job.result?.pictures) this.#add(job.id, job.result.pictures);
    else if (finished ? !known.complete : (job.progress?.picture ?? 0) > known.fetchedUpTo) void this.#fetch(job, known);
  }

  /** Forget jobs that are not shown any more. @param {Set<string>} shown */
  keep(shown) {
    for (const id of this.#known.keys()) if (!shown.has(id)) this.#known.delete(id);
  }

  /** @param {string} jobId @returns {Known} */
  #knownOf(jobId) {
    let known = this.#known.get(jobId);
    if (!known) this.#known.set(jobId, (known = { pictures: new Map(), fetching: false, fetchedUpTo: 0, complete: false }));
    return known;
  }

  /** @param {string} jobId @param {OutputPicture[]} pictures */
  #add(jobId, pictures) {
    const known = this.#knownOf(jobId).pictures;
    const added = pictures.filter(({ index }) => !known.has(index)).slice(0, Math.max(0, MAX_PICTURES - known.size));
    for (const picture of added) known.set(picture.index, picture);
    if (added.length) this.#notify(jobId);
  }

  /** Load finished pictures; one request at a time for each job. @param {Job} job @param {Known} known */
  async #fetch(job, known) {
    if (known.fetching) return;
    known.fetching = true;
    try {
      const finished = isFinished(job);
      const expected = finished ? MAX_PICTURES : (job.progress?.picture ?? 0);
      const limit = Math.min(MAX_PICTURES, Math.max(1, expected - known.pictures.size + 1));
      const { entries } = await get(`/v1/gallery?job_id=${job.id}&limit=${limit}`);
      known.fetchedUpTo = expected;
      known.complete = finished;
      this.#add(job.id, entries);
      if (finished) this.#notify(job.id);
    } catch (error) {
      if (isFinished(job)) showError(error); // while the job runs, the next step tries again
    } finally {
      setTimeout(() => (known.fetching = false), FETCH_INTERVAL);
    }
  }

  /** @param {import("../viewer.js").EntryChange} change */
  #onEntryChange(change) {
    if (change.kind === "removed") this.#removed.add(change.id);
    else if (change.kind === "restored") this.#removed.delete(change.id);
    else return;
    for (const [jobId, { pictures }] of this.#known) {
      if ([...pictures.values()].some(({ id }) => id === change.id)) this.#notify(jobId);
    }
  }

  /** @param {string} jobId */
  #notify(jobId) {
    for (const listener of this.#listeners) listener(jobId);
  }
}
