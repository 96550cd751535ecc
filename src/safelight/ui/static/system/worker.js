// A worker: its device and backend and the reason for that choice, its state, the checkpoints in its memory, its devices.

import { h } from "../core/dom.js";
import { serverText } from "../core/server_text.js";
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
 * @property {Device[]} [devices]  of its machine, the CPU first
 * @property {string[]} [device_notes]  on devices whose place the CPU has taken
 */

/**
 * @typedef {object} Device
 * @property {string} name  as torch names it
 * @property {string} title
 * @property {string[]} precisions
 * @property {string} details
 * @property {string[]} used_for  denoiser, text_encoders, vae
 * @property {number | null} total  bytes; null where nothing of the worker runs on it
 * @property {number | null} free
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
    worker.device_notes?.map(noteLine),
    !!worker.devices?.length && h("ul", { class: "sl-system-devices", "aria-label": t("system.devices") }, worker.devices.map(deviceItem)),
    worker.last_error && h("div", { class: "sl-system-failure" },
      h("p", {}, errorText(worker.last_error)), worker.last_error.hint && h("p", { class: "sl-hint" }, worker.last_error.hint)),
  );
}

/** A sentence of the server, in the page's language. @param {string} note */
function noteLine(note) {
  const line = h("p", { class: "sl-system-note" });
  void serverText(note).then((text) => (line.textContent = text));
  return line;
}

/** @param {Device} device */
const deviceItem = ({ name, title, precisions, details, used_for, total, free }) =>
  h(
    "li",
    {},
    h("p", {}, h("b", {}, name), ` ${title}`),
    total !== null && free !== null && memoryBar(total, free),
    h("p", {}, used_for.length ? t("system.device.runs", { what: used_for.map((each) => t(`system.device.${each}`)).join(", ") }) : t("system.device.unused")),
    h("p", { class: "sl-hint" }, [precisions.join(", "), details].filter(Boolean).join(" · ")),
  );

/** How much of a device's memory is taken. @param {number} total @param {number} free  bytes */
const memoryBar = (total, free) => {
  const says = t("system.device.memory", { used: formatBytes(total - free), total: formatBytes(total), free: formatBytes(free) });
  return h(
    "div",
    { class: "sl-system-device-memory" },
    h("span", { class: "sl-plan-bar", "aria-hidden": "true" }, h("i", { class: "sl-plan-weights", style: `width: ${Math.round((100 * (total - free)) / total)}%` })),
    h("p", {}, says),
  );
};

/** The error's message, with the checkpoint's name unless the message contains it. @param {NonNullable<Worker["last_error"]>} error */
const errorText = ({ checkpoint, message }) => (checkpoint && !message.includes(checkpoint) ? `${checkpoint}: ${message}` : message);

/** @param {string} name @param {string} value */
const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
