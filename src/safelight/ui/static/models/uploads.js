// Files that an administrator sends to the server: one after the other, with progress; what was refused and why.

import { ApiError, parse, query, request } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { errorText, isServersText } from "../core/error_text.js";
import { formatBytes, formatPercent, t } from "../core/text.js";
import { showError } from "../core/toast.js";

/** @typedef {import("./files.js").WeightsFile} WeightsFile */

const PICKLES = /\.(bin|ckpt|pt|pth|pkl)$/i;
const WEIGHTS = /\.(safetensors|gguf)$/i;

/** The files that are sent or were refused. @param {(file: WeightsFile) => void} onDone */
export function uploadList(onDone) {
  const element = h("ul", { class: "sl-models-pulls", "aria-live": "polite" });
  /** Ends with the last file. @type {Promise<unknown>} */
  let queue = Promise.resolve();

  /** @param {Iterable<File>} files */
  function add(files) {
    for (const file of files) {
      const row = uploadRow(file, () => add([file]));
      element.prepend(row.element);
      queue = queue.then(async () => {
        const found = await row.run();
        if (found) onDone(found);
      }).catch(showError);
    }
  }
  return { element, add };
}

/** A file. @param {File} file @param {() => void} again */
function uploadRow(file, again) {
  const abort = new AbortController();
  const bar = h("progress", { max: file.size || 1, value: 0, "aria-label": file.name });
  const status = h("p", { class: "sl-models-pull-status" }, t("models.upload.waiting"));
  const what = h("div", { class: "sl-models-what" }, h("h3", {}, file.name), bar, status);
  const stop = button({ label: t("models.pull.stop"), "aria-label": t("models.pull.stop.name", { name: file.name }), onclick: () => abort.abort() });
  const element = h("li", { class: "sl-models-pull-row" }, what, stop);
  const close = button({ icon: "close", label: t("models.upload.dismiss", { name: file.name }), iconOnly: true, onclick: () => element.remove() });

  /** Send it; null if it was stopped or refused. @returns {Promise<WeightsFile | null>} */
  async function run() {
    try {
      checkName(file.name);
      abort.signal.throwIfAborted();
      await request("GET", `/v1/models/uploads/check${query({ name: file.name, size: file.size })}`, { signal: abort.signal });
      const found = await send(file, abort.signal, (sent) => {
        bar.value = sent;
        const values = { done: formatBytes(sent), size: formatBytes(file.size), share: formatPercent(file.size ? sent / file.size : 1) };
        status.textContent = sent < file.size ? t("models.pull.state.running", values) : t("models.upload.checking");
      });
      status.textContent = t("models.upload.done", { kind: t(`models.kind.${found.kind}`), folder: found.folder, size: formatBytes(found.size) });
      if (!found.usable && found.reason) what.append(h("p", { class: "sl-hint" }, found.reason));
      element.classList.add("sl-is-done");
      return found;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") {
        status.textContent = t("models.upload.stopped");
        element.append(button({ label: t("models.upload.again"), "aria-label": t("models.upload.again.name", { name: file.name }), onclick: () => (element.remove(), again()) }));
      } else {
        if (!(error instanceof ApiError)) throw error;
        status.textContent = t("models.upload.refused");
        what.append(failure(error));
      }
      return null;
    } finally {
      bar.remove();
      stop.remove();
      element.append(close);
    }
  }
  return { element, run };
}

/** Why a file was refused, or a name could not be looked up. @param {import("../types").ErrorBody} error */
export function failure(error) {
  const text = error.code === "page.offline" ? t("error.offline") : errorText(error);
  return h("div", { class: "sl-models-failure", role: "alert" }, h("p", {}, text || t("error.page")), error.hint && isServersText(error) && h("p", { class: "sl-hint" }, error.hint));
}

/** Refuse by its name what the server would refuse. @param {string} name @throws {ApiError} */
function checkName(name) {
  const refuse = (/** @type {string} */ message) => {
    throw new ApiError({ code: "page.file", message }, 0);
  };
  if (PICKLES.test(name)) refuse(t("models.upload.pickle", { name, command: `safelight models convert ${/\s/.test(name) ? `"${name}"` : name}` }));
  if (!WEIGHTS.test(name)) refuse(t("models.upload.suffix", { name }));
}

/**
 * Send a file, with XMLHttpRequest, since fetch reports no progress.
 * @param {File} file
 * @param {AbortSignal} signal
 * @param {(sent: number) => void} onprogress
 * @returns {Promise<WeightsFile>}
 */
function send(file, signal, onprogress) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", `/v1/models/uploads${query({ name: file.name })}`);
    xhr.setRequestHeader("Content-Type", "application/octet-stream");
    xhr.upload.onprogress = ({ loaded }) => onprogress(loaded);
    xhr.onerror = () => reject(new ApiError({ code: "page.offline", message: "" }, 0));
    xhr.onabort = () => reject(new DOMException("", "AbortError"));
    xhr.onload = () => {
      try {
        const answer = parse(xhr.responseText);
        if (xhr.status === 201) resolve(answer);
        else reject(new ApiError(answer.error, xhr.status));
      } catch {
        reject(new ApiError({ code: "page.answer", message: xhr.statusText || String(xhr.status) }, xhr.status));
      }
    };
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(file);
  });
}
