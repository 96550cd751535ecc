// The jobs as they are now, kept up to date over one WebSocket; a lost connection is opened again and nothing is missed.

import { get, parse, request } from "./api.js";

/**
 * @typedef {import("../types").Job} Job
 * @typedef {{type: "jobs"} | {type: "queue", ids: string[]} | {type: "job", job: Job} | {type: "preview", id: string, picture: number, image: string}
 *   | {type: "error", error: import("../types").Failure} | {type: "connection", open: boolean}} Change
 */

const MOST = 200; // jobs that are remembered; the oldest finished ones go first
const SOONEST = 500, LATEST = 8000; // milliseconds until the connection is tried again

export class Live {
  /** Every job that is known, by id. @type {Map<string, Job>} */
  jobs = new Map();
  /** The newest preview of each running job, as a data URI. @type {Map<string, {picture: number, image: string}>} */
  previews = new Map();
  open = false;
  /** @type {Set<(change: Change) => void>} */
  #listeners = new Set();
  #wait = SOONEST;
  #told = false; // whether anybody was told how the connection is

  /** @param {string} [path] */
  constructor(path = "/v1/live") {
    this.address = new URL(path, location.href);
    this.address.protocol = this.address.protocol.replace("http", "ws");
  }

  /** Connect, and stay connected. */
  connect() {
    const socket = new WebSocket(this.address);
    socket.onmessage = ({ data }) => this.#hear(parse(data));
    socket.onclose = () => {
      if (!this.open) get("/v1/session").catch(() => {}); // who is no longer signed in is led to where they can be
      if (this.open || !this.#told) this.#tell({ type: "connection", open: (this.open = false) });
      this.#told = true;
      setTimeout(() => this.connect(), this.#wait);
      this.#wait = Math.min(LATEST, this.#wait * 2);
    };
  }

  /**
   * Be told of every change.
   * @param {(change: Change) => void} listener
   * @returns {() => void}  Ends it.
   */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All jobs, the newest first. */
  newest() {
    return [...this.jobs.values()].sort((one, other) => (one.created < other.created ? 1 : -1));
  }

  /**
   * Tell a job something; not over the socket, which may be lost just now, so that it is known whether it was heard.
   * @param {"cancel" | "finish" | "skip"} action
   * @param {string} id
   */
  async signal(action, id) {
    await (action === "cancel" ? request("DELETE", `/v1/jobs/${id}`) : request("POST", `/v1/jobs/${id}/${action}`));
  }

  /** Take in a job that the page itself has just submitted. @param {Job} job */
  add(job) {
    if (!this.jobs.has(job.id)) this.#take(job);
  }

  /** @param {any} message */
  #hear(message) {
    switch (message.type) {
      case "hello":
        this.#wait = SOONEST;
        this.open = this.#told = true;
        this.jobs = new Map(message.jobs.map((/** @type {Job} */ job) => [job.id, job])); // all there is: it may come again
        for (const id of this.previews.keys()) if (this.jobs.get(id)?.state !== "running") this.previews.delete(id);
        this.#tell({ type: "connection", open: true });
        return this.#tell({ type: "jobs" });
      case "job":
        return this.#take(message.job);
      case "progress":
        return this.#change(message.id, { progress: message.progress, eta: message.eta });
      case "preview": {
        const image = `data:image/webp;base64,${message.image}`;
        this.previews.set(message.id, { picture: message.picture, image });
        return this.#tell({ type: "preview", id: message.id, picture: message.picture, image });
      }
      case "queue":
        return this.#arrange(message.positions, message.etas);
      case "error":
        return this.#tell({ type: "error", error: message.error });
    }
  }

  /** @param {Job} job */
  #take(job) {
    this.jobs.set(job.id, job);
    if (isOver(job)) this.previews.delete(job.id);
    for (const old of this.newest().slice(MOST)) if (isOver(old)) this.jobs.delete(old.id);
    this.#tell({ type: "job", job });
  }

  /** @param {string} id @param {Partial<Job>} fields */
  #change(id, fields) {
    const job = this.jobs.get(id);
    if (!job || isOver(job)) return;
    const changed = { ...job, ...fields };
    this.jobs.set(id, changed);
    this.#tell({ type: "job", job: changed });
  }

  /** New places in the queue, told of once for all of them. @param {Record<string, number>} positions @param {Record<string, number>} etas */
  #arrange(positions, etas) {
    const ids = [...new Set([...Object.keys(positions), ...Object.keys(etas)])];
    for (const id of ids) {
      const job = this.jobs.get(id);
      if (job && !isOver(job)) this.jobs.set(id, { ...job, position: positions[id] ?? job.position, eta: etas[id] ?? null });
    }
    this.#tell({ type: "queue", ids });
  }

  /** @param {Change} change */
  #tell(change) {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Whether nothing more will happen to a job. @param {Job} job */
export const isOver = (job) => job.state !== "queued" && job.state !== "running";
