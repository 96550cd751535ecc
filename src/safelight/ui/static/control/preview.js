// What a preprocessor makes of a unit's picture: asked from the server, with the time that it takes and a way to cancel it.

import { ApiError, post, readBlob, request } from "../core/api.js";
import { isFinished } from "../core/job_store.js";
import { fileUrl } from "../core/picture.js";

/** @typedef {import("./units.js").UnitPicture} UnitPicture */
/** @typedef {{name: string, parameters?: Record<string, import("../controls.js").Value>, resolution?: number}} Options */
/** @typedef {{url: string, seconds: number}} Map  url: of the picture, an object's or the gallery's; seconds: how long it took */

const MIN_RESOLUTION = 64, MAX_RESOLUTION = 2048; // pixels of the shorter side, as the server has them

/**
 * Preprocess a picture.
 * @param {UnitPicture} picture
 * @param {Options} options
 * @param {{jobStore: import("../core/job_store.js").JobStore, asJob: boolean, signal: AbortSignal, onprogress: (fraction: number) => void}} how
 *   asJob: it runs in a worker, as a job whose picture the gallery keeps; onprogress: called with what is done of such a job
 * @returns {Promise<Map>}
 * @throws {ApiError | DOMException}  it failed, or was cancelled
 */
export async function preprocess(picture, { name, parameters = {}, resolution }, { jobStore, asJob, signal, onprogress }) {
  const began = performance.now();
  const fields = { preprocessor: name, parameters, ...(resolution && { resolution }) };
  const url = asJob ? await followJob(await submit(picture, fields), jobStore, signal, onprogress) : await answer(picture, fields, signal);
  return { url, seconds: (performance.now() - began) / 1000 };
}

/**
 * The resolution at which a map has as many pixels as the picture that it steers, as the server computes it.
 * @param {{width: number, height: number}} picture
 * @param {{width: number, height: number}} target
 * @param {boolean} within  whether the picture lies within the target, with bars at two sides
 */
export function fittingResolution(picture, target, within) {
  const scales = [target.width / picture.width, target.height / picture.height];
  const wanted = (within ? Math.min(...scales) : Math.max(...scales)) * Math.min(picture.width, picture.height);
  return Math.max(MIN_RESOLUTION, Math.min(MAX_RESOLUTION, Math.round(wanted)));
}

/** @param {UnitPicture} picture @param {Record<string, any>} fields @param {AbortSignal} signal */
async function answer(picture, fields, signal) {
  const response = await request("POST", "/v1/preprocess", picture.blob ? { body: multipart(picture.blob, fields), signal } : { json: { ...fields, image: `gallery:${picture.entry}` }, signal });
  return URL.createObjectURL(await readBlob(response));
}

/** @param {UnitPicture} picture @param {Record<string, any>} fields @returns {Promise<import("../types").Job>} */
async function submit(picture, fields) {
  const body = { ...fields, kind: "preprocess" };
  if (!picture.blob) return post("/v1/jobs", { ...body, image: `gallery:${picture.entry}` });
  return (await request("POST", "/v1/jobs", { body: multipart(picture.blob, body) })).json();
}

/** @param {Blob} blob @param {Record<string, any>} fields */
function multipart(blob, fields) {
  const body = new FormData();
  body.append("image", blob, "picture");
  body.append("request", JSON.stringify(fields));
  return body;
}

/**
 * Wait for a job's picture; if the signal is aborted, the job is cancelled.
 * @param {import("../types").Job} submitted
 * @param {import("../core/job_store.js").JobStore} jobStore
 * @param {AbortSignal} signal
 * @param {(fraction: number) => void} onprogress
 * @returns {Promise<string>}  its address
 */
function followJob(submitted, jobStore, signal, onprogress) {
  return new Promise((resolve, reject) => {
    const end = () => (stop(), signal.removeEventListener("abort", cancel));
    const cancel = () => {
      end();
      void request("DELETE", `/v1/jobs/${submitted.id}`).catch(() => {}); // it may have ended
      reject(signal.reason);
    };
    const look = (/** @type {import("../types").Job} */ job) => {
      if (!isFinished(job)) return onprogress(job.progress?.fraction ?? 0);
      end();
      const made = job.result?.pictures?.[0];
      if (made?.url) resolve(fileUrl(made.id));
      else reject(new ApiError(job.error ?? { code: made ? "policy.blocked" : "page.preview_stopped", message: "" }, 0));
    };
    const stop = jobStore.subscribe((change) => change.type === "job" && change.job.id === submitted.id && look(change.job));
    signal.addEventListener("abort", cancel);
    if (signal.aborted) cancel();
    else look(jobStore.jobs.get(submitted.id) ?? submitted);
  });
}
