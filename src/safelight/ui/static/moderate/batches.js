// Sends pictures to be judged: some at a time, as fast as the server lets us, until there are none or it is stopped.

import { ApiError, query, request } from "../core/api.js";

/**
 * @typedef {import("../types").Failure} Failure
 * @typedef {import("../types").Verdict & {frame?: number | null, tile?: number | null}} Verdict
 * @typedef {{name: string, file: File, state: "waiting" | "sent" | "done", verdict: Verdict | null, failure: Failure | null}} Item
 *   done: with a verdict, or with the failure that kept it from one
 */

const MOST = 8, BYTES = 20e6; // of one call
const LANES = 2;
const LONGEST = 300; // seconds that are waited without being asked

/**
 * @typedef {object} Handlers
 * @property {(items: Item[]) => void} changed  some have another state
 * @property {(seconds: number) => void} waits  the server wants us to wait; 0: no longer
 * @property {(error: ApiError | null) => void} ended  nothing is being sent any more: all is done, it was stopped (null), or something is wrong
 */

export class Batches {
  /** @type {Item[]} */
  #queue = [];
  /** @type {AbortController | null} */
  #stop = null;
  #again = false; // whether to go on as soon as what is being stopped has ended
  #list = 0; // counts those that were cleared; what was sent of an older one comes back to nobody
  #until = 0; // performance.now() until which nothing is sent
  /** How many pictures may go together; less once the server has said so. */
  #most = MOST;

  /** @param {() => string | null} policy  which policy to name @param {Handlers} handlers */
  constructor(policy, handlers) {
    this.policy = policy;
    this.handlers = handlers;
  }

  get running() {
    return this.#stop !== null;
  }

  get waiting() {
    return this.#queue.length;
  }

  /** @param {Item[]} items  they are judged after those that wait already */
  add(items) {
    this.#queue.push(...items);
    void this.run();
  }

  /** Forget what waits. */
  clear() {
    this.#list += 1;
    this.#queue = [];
    this.stop();
  }

  /** Stop; what has no answer yet waits. */
  stop() {
    this.#again = false;
    this.#stop?.abort();
  }

  /** Go on until nothing waits. */
  async run() {
    if (this.#stop?.signal.aborted) this.#again = true;
    if (this.#stop || !this.#queue.length) return;
    this.#again = false;
    const stop = (this.#stop = new AbortController());
    /** @type {ApiError | null} */
    let wrong = null;
    const lane = async () => {
      try {
        while (this.#queue.length && !stop.signal.aborted) await this.#step(stop.signal);
      } catch (error) {
        stop.abort();
        if (error instanceof ApiError) wrong = error;
        else if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
      }
    };
    try {
      await Promise.all(Array.from({ length: LANES }, lane));
    } finally {
      this.#stop = null;
      this.handlers.ended(wrong);
    }
    if (this.#again || !stop.signal.aborted) void this.run(); // what came while the last answers did
  }

  /** Send one batch and take in its answer. @param {AbortSignal} signal */
  async #step(signal) {
    await this.#patience(signal);
    const batch = this.#next();
    if (!batch.length) return;
    const list = this.#list;
    this.#set(batch, "sent");
    try {
      const verdicts = await this.#judged(batch, signal);
      if (list !== this.#list) return;
      batch.forEach((item, index) => Object.assign(item, { verdict: verdicts[index], failure: verdicts[index].error }));
      this.#set(batch, "done");
    } catch (error) {
      if (list !== this.#list) return;
      if (!(error instanceof ApiError)) {
        this.#putBack(batch);
        throw error;
      }
      this.#refused(batch, error);
    }
  }

  /** @param {Item[]} batch @param {AbortSignal} signal @returns {Promise<Verdict[]>} */
  async #judged(batch, signal) {
    const form = new FormData();
    for (const { file, name } of batch) form.append("images", file, name);
    const response = await request("POST", `/v1/moderate${query({ policy: this.policy() })}`, { body: form, signal });
    return (await response.json()).verdicts;
  }

  /** What an error means for a batch: later, in smaller pieces, or not at all. @param {Item[]} batch @param {ApiError} error */
  #refused(batch, error) {
    const { status, wait } = error;
    if ((status === 429 || status === 503) && wait > 0 && wait <= LONGEST) {
      this.#until = Math.max(this.#until, performance.now() + wait * 1000);
      return this.#putBack(batch);
    }
    if (batch.length > 1 && (status === 413 || status === 422 || (status === 429 && !wait))) {
      if (status === 429) this.#most = Math.max(1, batch.length >> 1);
      const middle = batch.length >> 1;
      this.#putBack(batch.slice(middle), middle);
      return this.#putBack(batch.slice(0, middle), middle);
    }
    if (status === 0 || status === 401 || status === 403 || status === 429 || status === 503) {
      this.#putBack(batch);
      throw error; // the next would fare no better
    }
    for (const item of batch) item.failure = { code: error.code, message: error.message, hint: error.hint };
    this.#set(batch, "done");
  }

  /** As many as may go together. */
  #next() {
    let bytes = 0, number = 0;
    const most = Math.min(this.#most, this.#queue[0] ? this.#limits.get(this.#queue[0]) ?? MOST : MOST);
    for (const { file } of this.#queue.slice(0, most)) {
      bytes += file.size;
      if (number && bytes > BYTES) break;
      number += 1;
    }
    return this.#queue.splice(0, number);
  }

  /** How many pictures may go together with one that was too much with others. @type {WeakMap<Item, number>} */
  #limits = new WeakMap();

  /** @param {Item[]} batch @param {number} [most] */
  #putBack(batch, most) {
    if (most) for (const item of batch) this.#limits.set(item, most);
    this.#queue.unshift(...batch);
    this.#set(batch, "waiting");
  }

  /** @param {Item[]} items @param {Item["state"]} state */
  #set(items, state) {
    for (const item of items) item.state = state;
    this.handlers.changed(items);
  }

  /** Wait as long as the server said. @param {AbortSignal} signal */
  async #patience(signal) {
    while (this.#until > performance.now()) {
      this.handlers.waits(Math.ceil((this.#until - performance.now()) / 1000));
      await pause(Math.min(1000, this.#until - performance.now()), signal);
      if (this.#until <= performance.now()) this.handlers.waits(0);
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => reject(new DOMException("stopped", "AbortError"));
    if (signal.aborted) return end();
    const timer = setTimeout(() => (signal.removeEventListener("abort", end), resolve()), Math.max(0, milliseconds));
    signal.addEventListener("abort", () => (clearTimeout(timer), end()), { once: true });
  });
}
