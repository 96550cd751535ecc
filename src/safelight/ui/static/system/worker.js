// A worker: its device and backend and the reason for that choice, its state, the checkpoints in its memory.

import { h } from "../core/dom.js";
import { formatBytes, t } from "../core/text.js";

/**
 * @typedef {object} Worker
 * @property {string} name
 * @property {string} device
 * @property {string} state  starting, loading, idle, busy
 * @property {string[]} checkpoints
 * @property {number} memory  bytes
 * @property {string} [precision]
 * @property {string} [backend]
 * @property {string} [why]
 * @property {string | null} [loading]
 * @property {number} [shortages]  how often the memory ran short
 * @property {import("./plan.js").StagePeak[]} [stages]  of the last pictures
 * @property {(import("../types").ErrorBody & {checkpoint?: string}) | null} [last_error]
 */

/** @param {Worker} worker */
export function workerCard(worker) {
  const how = [worker.device, worker.precision, worker.backend].filter(Boolean);
  return h(
    "article",
    { class: "sl-system-worker" },
    h("header", {}, h("h3", {}, worker.name), h("span", { class: `sl-badge sl-system-is-${worker.state}` }, t(`system.worker.${worker.state}`))),
    h("p", {}, how.join(" · ")),
    worker.why && h("p", { class: "sl-hint" }, worker.why),
    worker.loading && h("p", {}, t("system.worker.loads", { name: worker.loading })),
    h("dl", {},
      pair(t("system.worker.memory"), formatBytes(worker.memory)),
      pair(t("system.worker.checkpoints"), worker.checkpoints.length ? worker.checkpoints.join(", ") : t("system.none"))),
    worker.last_error && h("div", { class: "sl-system-failure" },
      h("p", {}, errorText(worker.last_error)), worker.last_error.hint && h("p", { class: "sl-hint" }, worker.last_error.hint)),
  );
}

/** The error's message, with the checkpoint's name unless the message contains it. @param {NonNullable<Worker["last_error"]>} error */
const errorText = ({ checkpoint, message }) => (checkpoint && !message.includes(checkpoint) ? `${checkpoint}: ${message}` : message);

/** @param {string} name @param {string} value */
const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
