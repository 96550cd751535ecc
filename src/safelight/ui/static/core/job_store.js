// The jobs of the session, kept up to date over one WebSocket; after a lost connection it reconnects and reads all jobs again.

import { get, parse, post, request } from "./api.js";

/**
 * @typedef {import("../types").Job} Job
 * @typedef {{type: "jobs"} | {type: "added", job: Job} | {type: "queue", ids: string[]} | {type: "job", job: Job} | {type: "preview", id: string, picture: number, image: string}
 *   | {type: "gallery", changed: string[], deleted: string[], collections: boolean} | {type: "error", error: import("../types").ErrorBody} | {type: "connection", connected: boolean}} Change
 */

const MAX_JOBS = 200; // finished jobs beyond this number are dropped, the oldest first
const MIN_RETRY_DELAY = 500, MAX_RETRY_DELAY = 8000; // milliseconds before the next attempt to connect

export class JobStore {
  /** All known jobs by id. @type {Map<string, Job>} */
  jobs = new Map();
  /** The newest preview of each running job, as a data URI. @type {Map<string, {picture: number, image: string}>} */
  previews = new Map();
  connected = false;
  /** Whether the queue is paused: no further job starts. */
  paused = false;
  /** @type {Set<(change: Change) => void>} */
  #listeners = new Set();
  #retryDelay = MIN_RETRY_DELAY;
  #connectionReported = false; // whether the listeners have been notified of the connection's state

  /** @param {string} [path] */
  constructor(path = "/v1/live") {
    this.url = new URL(path, location.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
  }

  /** Connect, and reconnect whenever the connection closes. */
  connect() {
    const socket = new WebSocket(this.url);
    socket.onmessage = ({ data }) => this.#onMessage(parse(data));
    socket.onclose = () => {
      if (!this.connected) get("/v1/session").catch(() => {}); // if the session has expired, this redirects to the sign-in page
      if (this.connected || !this.#connectionReported) this.#notify({ type: "connection", connected: (this.connected = false) });
      this.#connectionReported = true;
      setTimeout(() => this.connect(), this.#retryDelay);
      this.#retryDelay = Math.min(MAX_RETRY_DELAY, this.#retryDelay * 2);
    };
  }

  /**
   * Call a listener after every change.
   * @param {(change: Change) => void} listener
   * @returns {() => void}  unsubscribes
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All jobs, newest first. */
  newestFirst() {
    return [...this.jobs.values()].sort((one, other) => (one.created < other.created ? 1 : -1));
  }

  /**
   * Send a command to a job, over HTTP rather than the WebSocket, so that a failure is reported.
   * @param {"cancel" | "finish" | "skip"} action
   * @param {string} id
   */
  async sendCommand(action, id) {
    await (action === "cancel" ? request("DELETE", `/v1/jobs/${id}`) : request("POST", `/v1/jobs/${id}/${action}`));
  }

  /** The jobs that wait, in their order. */
  get waiting() {
    const place = (/** @type {Job} */ job) => job.position ?? Infinity;
    return [...this.jobs.values()].filter(({ state }) => state === "queued").sort((one, other) => place(one) - place(other) || (one.created < other.created ? -1 : 1));
  }

  /**
   * Move a waiting job among those of its owner and priority. It is shown at its new place at once, and at the old one again if the server refuses.
   * @param {string} id
   * @param {string | null} before  the job that is to follow it; null: behind all
   */
  async move(id, before) {
    const undo = this.#reorder(id, before);
    try {
      await post(`/v1/jobs/${id}/move`, { before });
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** Pause the queue, or resume it; administrators only. @param {boolean} paused */
  async setPaused(paused) {
    ({ paused: this.paused } = await post(`/v1/queue/${paused ? "pause" : "resume"}`, {}));
    this.#notify({ type: "queue", ids: [] });
  }

  /** Add a job that the page has just submitted. @param {Job} job */
  add(job) {
    if (!this.jobs.has(job.id)) this.#put(job);
    this.#notify({ type: "added", job });
  }

  /** @param {any} message */
  #onMessage(message) {
    switch (message.type) {
      case "hello":
        this.#retryDelay = MIN_RETRY_DELAY;
        this.connected = this.#connectionReported = true;
        this.paused = !!message.paused;
        this.jobs = new Map(message.jobs.map((/** @type {Job} */ job) => [job.id, job])); // the complete list, also after a reconnect
        for (const id of this.previews.keys()) if (this.jobs.get(id)?.state !== "running") this.previews.delete(id);
        this.#notify({ type: "connection", connected: true });
        return this.#notify({ type: "jobs" });
      case "job":
        return this.#put(message.job);
      case "progress":
        return this.#patch(message.id, { progress: message.progress, eta: message.eta });
      case "preview": {
        const image = `data:image/webp;base64,${message.image}`;
        this.previews.set(message.id, { picture: message.picture, image });
        return this.#notify({ type: "preview", id: message.id, picture: message.picture, image });
      }
      case "queue":
        this.paused = !!message.paused;
        return this.#updateQueue(message.positions, message.etas);
      case "gallery":
        return this.#notify(message);
      case "error":
        return this.#notify({ type: "error", error: message.error });
    }
  }

  /** @param {Job} job */
  #put(job) {
    this.jobs.set(job.id, job);
    if (isFinished(job)) this.previews.delete(job.id);
    for (const old of this.newestFirst().slice(MAX_JOBS)) if (isFinished(old)) this.jobs.delete(old.id);
    this.#notify({ type: "job", job });
  }

  /** @param {string} id @param {Partial<Job>} fields */
  #patch(id, fields) {
    const job = this.jobs.get(id);
    if (!job || isFinished(job)) return;
    const changed = { ...job, ...fields };
    this.jobs.set(id, changed);
    this.#notify({ type: "job", job: changed });
  }

  /** Update positions and remaining times of queued jobs, with one notification for all of them. @param {Record<string, number>} positions @param {Record<string, number>} etas */
  #updateQueue(positions, etas) {
    const ids = [...new Set([...Object.keys(positions), ...Object.keys(etas)])];
    for (const id of ids) {
      const job = this.jobs.get(id);
      if (job && !isFinished(job)) this.jobs.set(id, { ...job, position: positions[id] ?? job.position, eta: etas[id] ?? null });
    }
    this.#notify({ type: "queue", ids });
  }

  /** Give the jobs of one owner and priority their places anew. @param {string} id @param {string | null} before @returns {() => void}  undoes it */
  #reorder(id, before) {
    const moved = this.jobs.get(id);
    if (!moved) return () => {};
    const group = this.waiting.filter((job) => movesWith(job, moved));
    const others = group.filter((job) => job.id !== id);
    const at = before === null ? others.length : others.findIndex((job) => job.id === before);
    const order = others.toSpliced(at, 0, moved);
    const places = group.map(({ position }) => position);
    const put = (/** @type {Job[]} */ jobs) => {
      jobs.forEach((job, place) => {
        const now = this.jobs.get(job.id);
        if (now?.state === "queued") this.jobs.set(job.id, { ...now, position: places[place] });
      });
      this.#notify({ type: "queue", ids: jobs.map((job) => job.id) });
    };
    put(order);
    return () => put(group);
  }

  /** @param {Change} change */
  #notify(change) {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Whether a job has ended: succeeded, failed or cancelled. @param {Job} job */
export const isFinished = (job) => job.state !== "queued" && job.state !== "running";

/** Whether two waiting jobs are in one order: jobs are moved among those of their owner and priority. @param {Job} one @param {Job} other */
export const movesWith = (one, other) => one.owner === other.owner && one.priority === other.priority;
