// All that is known of a network, in a dialog, where an administrator also chooses its preview from the gallery.

import { get, query, read, request } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, h, setChildren } from "../core/dom.js";
import { thumbnailUrl } from "../core/picture.js";
import { formatBytes, formatDateTime, formatNumber, t } from "../core/text.js";
import { showError, withErrorToast } from "../core/toast.js";
import { kindText, previewPicture } from "./card.js";

/** @typedef {import("../types").Adapter} Adapter */
/** @typedef {import("../types").AdapterDetails} AdapterDetails */

const PREVIEW_SIDE = 512;
const CHOICES = 60; // pictures of the gallery to choose from

/**
 * @param {Adapter} network
 * @param {{canChange: boolean, insertTag: (tag: string) => void, onchange: (network: Adapter) => void}} options  canChange: whether the
 *   user may change previews, which are for everybody; insertTag: puts a word into the prompt; onchange: called with the changed network
 */
export async function showDetails(network, { canChange, insertTag, onchange }) {
  /** @type {AdapterDetails} */
  const details = await get(`/v1/adapters/${network.id}`);
  const picture = h("div", { class: "sl-net-large" });
  const change = withErrorToast(async (/** @type {"PUT" | "DELETE"} */ method, /** @type {unknown} */ json) => {
    const changed = await read(await request(method, `/v1/adapters/${network.id}/preview`, { json }));
    network = { ...network, preview: changed.preview, preview_set: changed.preview_set };
    render();
    onchange(network);
  });
  const render = () => setChildren(picture, previewPicture(network, PREVIEW_SIDE),
    canChange && button({ icon: "picture", label: t("networks.preview.choose"), onclick: () => void choosePicture((entry) => change("PUT", { entry })).catch(showError) }),
    canChange && network.preview_set && button({ icon: "trash", label: t("networks.preview.remove"), kind: "quiet", onclick: () => change("DELETE", undefined) }));
  render();
  const box = dialog(network.name, h("div", { class: "sl-net-details" }, picture, facts(details)), ...tags(details, insertTag), ...metadata(details));
  box.classList.add("sl-net-dialog");
}

/** @param {AdapterDetails} details */
function facts(details) {
  const { kind, alias, components, layers, key_style, trigger_words, file, size, modified, pictures, digest, hash } = details;
  /** @type {[string, string][]} */
  const rows = [
    ["kind", kindText(details)],
    ["alias", alias],
    ["trigger", trigger_words.join(", ")],
    ["changes", kind === "LoRA" ? [t("networks.layers", { n: layers }), components.join(", "), key_style].filter(Boolean).join(" · ") : ""],
    ["file", file],
    ["size", formatBytes(size)],
    ["modified", formatDateTime(modified)],
    ["pictures", formatNumber(pictures)],
    ["digest", digest ?? t("networks.digest.later")],
    ["hash", hash ?? ""],
  ];
  return h("dl", { class: "sl-net-facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, t(`networks.fact.${name}`)), h("dd", {}, value)]));
}

/** The words of the training captions, which a press puts into the prompt. @param {AdapterDetails} details @param {(tag: string) => void} insertTag */
function tags({ training_tags }, insertTag) {
  if (!training_tags.length) return [];
  const chip = (/** @type {{tag: string, count: number}} */ { tag, count }) =>
    h("button", { type: "button", class: "sl-chip", onclick: () => insertTag(tag) }, tag, " ", h("span", { class: "sl-net-count" }, formatNumber(count)));
  return [h("h3", {}, t("networks.tags")), h("p", { class: "sl-hint" }, t("networks.tags.says")), h("div", { class: "sl-chips sl-net-tags" }, training_tags.map(chip))];
}

/** @param {AdapterDetails} details */
function metadata({ metadata: written }) {
  if (!Object.keys(written).length) return [];
  return [h("details", { class: "sl-net-metadata" }, h("summary", {}, t("networks.metadata")), h("pre", {}, JSON.stringify(written, null, 2)))];
}

/** Let the user choose a picture of the gallery. @param {(id: string) => unknown} choose */
async function choosePicture(choose) {
  const list = h("div", { class: "sl-net-choices" });
  const search = h("input", { type: "search", class: "sl-field", placeholder: t("networks.preview.search"), "aria-label": t("networks.preview.search"), oninput: () => void load().catch(showError) });
  const box = dialog(t("networks.preview.choose"), h("p", { class: "sl-hint" }, t("networks.preview.says")), search, list);
  box.classList.add("sl-net-dialog");
  let asked = "";
  const load = async () => {
    const words = (asked = search.value.trim());
    /** @type {{entries: import("../types").GalleryEntry[]}} */
    const { entries } = await get(`/v1/gallery${query({ query: words, decision: "allow", limit: CHOICES })}`);
    if (words !== asked) return; // something else was typed meanwhile
    const choice = (/** @type {import("../types").GalleryEntry} */ { id, prompt }) => h("button", { type: "button", class: "sl-net-choice", "aria-label": prompt || t("picture.unnamed"), title: prompt, onclick: () => (box.close(), choose(id)) },
      h("img", { src: thumbnailUrl(id), alt: "", loading: "lazy", decoding: "async" }));
    setChildren(list, entries.length ? entries.filter(({ missing }) => !missing).map(choice) : h("p", { class: "sl-hint" }, t("networks.preview.none")));
  };
  await load();
}
