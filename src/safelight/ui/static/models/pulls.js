// Download models from the hub and from CivitAI, for administrators: size and licence first, then progress.

import { ApiError, get, post, request } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { formatBytes, formatPercent, t } from "../core/text.js";
import { showError, withErrorToast } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";
import { failure } from "./uploads.js";

/**
 * @typedef {{name: string, size: number | null, sha256: string | null}} OfferedFile
 * @typedef {{reference: string, title: string, name: string, kind: string | null, licence: string, gated: boolean, size: number,
 *   trigger_words: string, files: OfferedFile[]}} Offer
 * @typedef {{id: string, reference: string, file: string | null, title: string, state: "waiting" | "running" | "done" | "failed" | "stopped",
 *   size: number, done: number, name: string | null, kind: string | null, remarks: string[], error: import("../types").ErrorBody | null}} Pull
 */

const POLL_INTERVAL = 1; // seconds, while something is being downloaded
const OPEN_FILES = 8; // how many files are listed without a click

/** What a look-up found, and the downloads. @param {() => void} onDone  called when a download has ended */
export function downloads(onDone) {
  const answer = h("div", { class: "sl-models-answer", "aria-live": "polite" });
  const list = h("ul", { class: "sl-models-pulls" });
  /** @type {Set<string>} */
  const active = new Set();
  const elements = new Map();

  const refresh = whileVisible(list, async () => {
    try {
      show((await get("/v1/models/pulls")).pulls);
    } catch (error) {
      if (active.size) showError(error);
      active.clear(); // until the section is shown again
    }
  }, () => (active.size ? POLL_INTERVAL : Infinity));

  /** @param {Pull[]} pulls */
  function show(pulls) {
    const ended = pulls.filter(({ id, state }) => active.has(id) && state !== "waiting" && state !== "running");
    active.clear();
    for (const { id, state } of pulls) if (state === "waiting" || state === "running") active.add(id);
    const rows = pulls.map((pull) => {
      const key = JSON.stringify({ ...pull, done: 0 });
      if (elements.get(pull.id)?.key !== key) elements.set(pull.id, { key, ...pullRow(pull, { stop, again }) });
      const row = elements.get(pull.id);
      row.advance(pull);
      return row.element;
    });
    if (rows.some((row, index) => list.children[index] !== row) || list.children.length !== rows.length) setChildren(list, rows);
    if (ended.some(({ state }) => state === "done")) onDone();
  }

  const stop = withErrorToast(async (/** @type {Pull} */ pull) => {
    await request("DELETE", `/v1/models/pulls/${pull.id}`);
    refresh();
  });
  const again = withErrorToast((/** @type {Pull} */ pull) => start(pull.reference, pull.file));

  /** @param {string} name @param {string | null} wanted */
  async function start(name, wanted) {
    const pull = await post("/v1/models/pulls", { reference: name, file: wanted });
    active.add(pull.id);
    refresh();
  }

  /** Show what a source offers. @param {string} reference @param {string | null} wanted  only this file */
  async function lookUp(reference, wanted) {
    setChildren(answer, h("p", { class: "sl-hint" }, t("models.pull.looking")));
    try {
      const offer = await post("/v1/models/pulls/preview", { reference, file: wanted });
      const accept = withErrorToast(async () => {
        setChildren(answer);
        await start(offer.reference, wanted);
      });
      setChildren(answer, offerCard(offer, accept, () => setChildren(answer)));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setChildren(answer, failure(error));
    }
  }
  return { answer, list, lookUp };
}

/** What a source offers, with its licence and size. @param {Offer} offer @param {() => unknown} accept @param {() => void} decline */
function offerCard(offer, accept, decline) {
  const facts = /** @type {const} */ ([
    ["kind", offer.kind && t(`models.kind.${offer.kind}`)], ["licence", offer.licence || t("models.pull.licence.none")],
    ["words", offer.trigger_words], ["version", offer.reference]]);
  return h(
    "div",
    { class: "sl-models-offer" },
    h("h3", {}, offer.title),
    h("dl", {}, facts.flatMap(([name, value]) => (value ? [h("dt", {}, t(`models.pull.${name}`)), h("dd", {}, value)] : []))),
    offer.gated && h("p", { class: "sl-hint" }, t("models.pull.gated")),
    h("details", { open: offer.files.length <= OPEN_FILES },
      h("summary", {}, t("models.pull.files", { n: offer.files.length })),
      h("ul", { class: "sl-models-offer-files" }, offer.files.map((each) =>
        h("li", {}, h("span", {}, each.name), h("span", {}, each.size === null ? "–" : formatBytes(each.size)))))),
    h("div", { class: "sl-models-buttons" },
      button({ icon: "download", label: t("models.pull.start", { size: formatBytes(offer.size) }), kind: "primary", onclick: accept }),
      button({ label: t("models.pull.decline"), kind: "quiet", onclick: decline })),
  );
}

/** A download. @param {Pull} pull @param {{stop: (pull: Pull) => unknown, again: (pull: Pull) => unknown}} commands */
function pullRow(pull, { stop, again }) {
  const running = pull.state === "running" || pull.state === "waiting";
  const bar = h("progress", { max: pull.size || 1, "aria-label": pull.title });
  const status = h("p", { class: "sl-models-pull-status" });
  const element = h(
    "li",
    { class: `sl-models-pull-row sl-is-${pull.state}` },
    h("div", { class: "sl-models-what" },
      h("h3", {}, pull.title),
      running && bar,
      status,
      pull.remarks.map((remark) => h("p", { class: "sl-hint" }, remark)),
      pull.error && failure(pull.error)),
    running && button({ label: t("models.pull.stop"), "aria-label": t("models.pull.stop.name", { name: pull.title }), onclick: () => stop(pull) }),
    (pull.state === "failed" || pull.state === "stopped") &&
      button({ label: t("models.pull.again"), "aria-label": t("models.pull.again.name", { name: pull.title }), onclick: () => again(pull) }),
  );
  /** Show how far it is. @param {Pull} now */
  const advance = (now) => {
    bar.value = now.done;
    const share = now.size ? formatPercent(now.done / now.size) : "";
    status.textContent = t(`models.pull.state.${now.state}`, {
      done: formatBytes(now.done), size: formatBytes(now.size), share, name: now.name ?? "", kind: now.kind ? t(`models.kind.${now.kind}`) : "" });
  };
  return { element, advance };
}
