// Requests to our own API: JSON in and out; failures throw the server's error.

/** An error as the server sends it: what is wrong, and how to fix it. */
export class ApiError extends Error {
  /**
   * @param {import("../types").ErrorBody} failure
   * @param {number} status  0: no response arrived
   * @param {number} [wait]  seconds from the Retry-After header; 0: none was sent
   */
  constructor(failure, status, wait = 0) {
    super(failure.message);
    this.code = failure.code;
    this.hint = failure.hint ?? "";
    this.field = failure.field ?? "";
    this.context = failure.context ?? {};
    this.problems = failure.problems ?? [];
    this.status = status;
    this.wait = wait;
  }
}

/**
 * Send a request.
 * @param {string} method
 * @param {string} path  absolute, such as /v1/jobs
 * @param {{json?: unknown, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal, keepalive?: boolean}} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError}  The server answered with an error, or could not be reached.
 */
export async function request(method, path, { json, body, headers = {}, signal, keepalive } = {}) {
  const response = await receive(fetch(path, {
    method,
    body: json === undefined ? body : JSON.stringify(json),
    headers: json === undefined ? headers : { "Content-Type": "application/json", ...headers },
    signal,
    keepalive,
  }));
  if (response.ok) return response;
  if (response.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}${location.hash}`);
  throw new ApiError(await errorBodyOf(response), response.status, Number(response.headers.get("Retry-After")) || 0);
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export const get = async (path, signal) => read(await request("GET", path, { signal }));
/** @param {string} path @param {unknown} json @returns {Promise<any>} */
export const post = async (path, json) => read(await request("POST", path, { json }));
/** Parse a response's body. @param {Response} response @returns {Promise<any>} @throws {ApiError}  The connection broke off. */
export const read = async (response) => parse(await receive(response.text()));
/** A response's body as a file. @param {Response} response @returns {Promise<Blob>} @throws {ApiError}  The connection broke off. */
export const readBlob = (response) => receive(response.blob());

/**
 * Parse JSON, keeping integers that JavaScript cannot represent exactly as strings: seeds can have 63 bits.
 * @param {string} text
 * @returns {any}
 */
export function parse(text) {
  const keepLargeIntegers = (/** @type {string} */ _key, /** @type {unknown} */ value, /** @type {{source?: string}} */ context) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? value) : value;
  return JSON.parse(text, /** @type {any} */ (keepLargeIntegers));
}

/**
 * A query string; empty values are left out.
 * @param {Record<string, string | number | boolean | null | undefined>} values
 */
export function query(values) {
  const present = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return present.length ? `?${new URLSearchParams(present.map(([name, value]) => [name, String(value)]))}` : "";
}

/**
 * A file as base64, the format of pictures in our JSON requests.
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/**
 * Wait for a response or its body; a connection that fails or breaks off is our error.
 * @template T
 * @param {Promise<T>} received
 * @returns {Promise<T>}
 * @throws {ApiError}
 */
async function receive(received) {
  try {
    return await received;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError({ code: "page.offline", message: "" }, 0);
  }
}

/** @param {Response} response @returns {Promise<import("../types").ErrorBody>} */
async function errorBodyOf(response) {
  try {
    const { error } = parse(await response.text());
    return typeof error?.message === "string" ? error : { code: "page.answer", message: response.statusText };
  } catch {
    return { code: "page.answer", message: response.statusText || String(response.status) };
  }
}
