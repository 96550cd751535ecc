// Upload pictures to be judged, in batches and at the rate that the server allows, until the queue is empty or stopped.

import { ApiError, query, read, request } from "../core/api.js";
import { t } from "../core/text.js";

/**
 * @typedef {import("../types").ErrorBody} ErrorBody
 * @typedef {import("../types").Verdict} Verdict
 * @typedef {{name: string, file: File, state: "waiting" | "sent" | "done", verdict: Verdict | null, failure: ErrorBody | null}} Item
 *   done: it has a verdict, or the error that prevented one
 */

const MAX_BATCH = 8, MAX_BATCH_BYTES = 20e6; // per request
const CONCURRENCY = 2;
const MAX_RETRY_AFTER = 300; // seconds; for a longer Retry-After the queue stops

/**
 * @typedef {object} Handlers
 * @property {(items: Item[]) => void} changed  the state of these items has changed
 * @property {(seconds: number) => void} retryAfter  the queue waits for the server's rate limit; 0: no longer
 * @property {(error: ApiError | null) => void} ended  nothing is being sent any more: the queue is empty or stopped (null), or a request failed
 */

export class UploadQueue {
  /** @type {Item[]} */
  #queue = [];
  /** @type {AbortController | null} */
  #controller = null;
  #restart = false; // whether to run again as soon as the aborted run has ended
  #generation = 0; // incremented by clear(); responses to an older generation are discarded
  #retryAt = 0; // performance.now() before which nothing is sent
  /** Maximum number of pictures per request; reduced when the server rejects larger ones. */
  #batchLimit = MAX_BATCH;

  /** @param {() => string | null} policy  which policy to name @param {Handlers} handlers */
  constructor(policy, handlers) {
    this.policy = policy;
    this.handlers = handlers;
  }

  get running() {
    return this.#controller !== null;
  }

  get waiting() {
    return this.#queue.length;
  }

  /** Add items at the end of the queue. @param {Item[]} items */
  add(items) {
    this.#queue.push(...items);
    void this.run();
  }

  /** Clear the queue and discard pending responses. */
  clear() {
    this.#generation += 1;
    this.#queue = [];
    this.stop();
  }

  /** Abort; items without a response go back to the queue. */
  stop() {
    this.#restart = false;
    this.#controller?.abort();
  }

  /** Send batches until the queue is empty. */
  async run() {
    if (this.#controller?.signal.aborted) this.#restart = true;
    if (this.#controller || !this.#queue.length) return;
    this.#restart = false;
    const stop = (this.#controller = new AbortController());
    /** @type {ApiError | null} */
    let failure = null;
    const send = async () => {
      try {
        while (this.#queue.length && !stop.signal.aborted) await this.#sendNext(stop.signal);
      } catch (error) {
        stop.abort();
        if (error instanceof ApiError) failure = error;
        else if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
      }
    };
    try {
      await Promise.all(Array.from({ length: CONCURRENCY }, send));
    } finally {
      this.#controller = null;
      this.handlers.ended(failure);
    }
    if (this.#restart || !stop.signal.aborted) void this.run(); // items that were added meanwhile
  }

  /** Send one batch and apply the response. @param {AbortSignal} signal */
  async #sendNext(signal) {
    await this.#waitForRetry(signal);
    const taken = this.#takeBatch();
    const empty = taken.filter(({ file }) => !file.size);
    for (const item of empty) item.failure = { code: "image.empty", message: t("moderate.empty_file"), hint: "" };
    if (empty.length) this.#setState(empty, "done");
    const batch = taken.filter(({ file }) => file.size);
    if (!batch.length) return;
    const generation = this.#generation;
    this.#setState(batch, "sent");
    try {
      const verdicts = await this.#moderate(batch, signal);
      if (generation !== this.#generation) return;
      batch.forEach((item, index) => Object.assign(item, { verdict: verdicts[index], failure: verdicts[index].error }));
      this.#setState(batch, "done");
    } catch (error) {
      if (generation !== this.#generation) return;
      if (!(error instanceof ApiError)) {
        this.#requeue(batch);
        throw error;
      }
      this.#handleError(batch, error);
    }
  }

  /** @param {Item[]} batch @param {AbortSignal} signal @returns {Promise<Verdict[]>} */
  async #moderate(batch, signal) {
    const form = new FormData();
    for (const { file, name } of batch) form.append("images", file, name);
    const response = await request("POST", `/v1/moderate${query({ policy: this.policy() })}`, { body: form, signal });
    return (await read(response)).verdicts;
  }

  /** Handle a failed batch: retry later, split it, or mark its items as failed. @param {Item[]} batch @param {ApiError} error */
  #handleError(batch, error) {
    const { status, wait } = error;
    if ((status === 429 || status === 503) && wait > 0 && wait <= MAX_RETRY_AFTER) {
      this.#retryAt = Math.max(this.#retryAt, performance.now() + wait * 1000);
      return this.#requeue(batch);
    }
    if (batch.length > 1 && (status === 413 || status === 422 || (status === 429 && !wait))) {
      if (status === 429) this.#batchLimit = Math.max(1, batch.length >> 1);
      const middle = batch.length >> 1;
      this.#requeue(batch.slice(middle), middle);
      return this.#requeue(batch.slice(0, middle), middle);
    }
    if (status === 0 || status === 401 || status === 403 || status === 429 || status === 503) {
      this.#requeue(batch);
      throw error; // the next batch would fail in the same way
    }
    for (const item of batch) item.failure = { code: error.code, message: error.message, hint: error.hint };
    this.#setState(batch, "done");
  }

  /** Take the next batch from the queue. */
  #takeBatch() {
    let bytes = 0, count = 0;
    const limit = Math.min(this.#batchLimit, this.#queue[0] ? this.#limits.get(this.#queue[0]) ?? MAX_BATCH : MAX_BATCH);
    for (const { file } of this.#queue.slice(0, limit)) {
      bytes += file.size;
      if (count && bytes > MAX_BATCH_BYTES) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Maximum batch size for items of a batch that was rejected as too large. @type {WeakMap<Item, number>} */
  #limits = new WeakMap();

  /** @param {Item[]} batch @param {number} [limit] */
  #requeue(batch, limit) {
    if (limit) for (const item of batch) this.#limits.set(item, limit);
    this.#queue.unshift(...batch);
    this.#setState(batch, "waiting");
  }

  /** @param {Item[]} items @param {Item["state"]} state */
  #setState(items, state) {
    for (const item of items) item.state = state;
    this.handlers.changed(items);
  }

  /** Wait as long as the server's Retry-After header says. @param {AbortSignal} signal */
  async #waitForRetry(signal) {
    while (this.#retryAt > performance.now()) {
      this.handlers.retryAfter(Math.ceil((this.#retryAt - performance.now()) / 1000));
      await sleep(Math.min(1000, this.#retryAt - performance.now()), signal);
      if (this.#retryAt <= performance.now()) this.handlers.retryAfter(0);
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => reject(new DOMException("stopped", "AbortError"));
    if (signal.aborted) return end();
    const timer = setTimeout(() => (signal.removeEventListener("abort", end), resolve()), Math.max(0, milliseconds));
    signal.addEventListener("abort", () => (clearTimeout(timer), end()), { once: true });
  });
}
