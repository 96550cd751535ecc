// What the viewer consists of: a bar, the stage with the picture, and the panel beside it.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

/** What can be done with a picture that is there: name, icon, key, and whether it leads to another tab. */
export const DEEDS = /** @type {const} */ ([
  ["use", "reuse", "u", true],
  ["sameSeed", "lock", "s", true],
  ["vary", "vary", "v", true],
  ["upscale", "enlarge", "x", false],
  ["edit", "edit", "e", true],
  ["copy", "copy", "c", false],
]);

/** @typedef {typeof DEEDS[number][0]} Deed */
/**
 * @typedef {{favourite: () => void, remove: () => void, compare: () => void, toggle: () => void, close: () => void, fit: () => void,
 *   step: (direction: 1 | -1) => void, go: (by: 1 | -1) => void, do: (name: Deed) => void}} Calls
 */

/** @param {Calls} calls */
export function makeFrame(calls) {
  const bare = (/** @type {any} */ options) => button({ bare: true, ...options });
  const label = t("viewer.download");
  const parts = {
    count: h("span", { class: "sl-viewer-count", role: "status" }),
    heart: bare({ icon: "heart", label: t("viewer.favourite"), class: "sl-button sl-bare sl-heart", "aria-pressed": "false", onclick: calls.favourite }),
    compare: bare({ icon: "compare", label: t("viewer.compare"), onclick: calls.compare }),
    link: h("a", { class: "sl-button sl-bare", title: label, "aria-label": label }, icon("download")),
    remove: bare({ icon: "trash", label: t("viewer.delete"), onclick: calls.remove }),
    fold: bare({ icon: "info", label: t("viewer.details"), "aria-controls": "sl-viewer-panel", onclick: calls.toggle }),
    percent: button({ label: "100 %", kind: "quiet", title: t("viewer.fit"), onclick: calls.fit }),
    thumbnail: h("img", { alt: "", draggable: "false" }),
    image: h("img", { alt: "", draggable: "false", decoding: "async" }),
    notice: h("div", { class: "sl-viewer-notice" }),
    previous: bare({ icon: "left", label: t("viewer.previous"), class: "sl-button sl-bare sl-viewer-previous", onclick: () => calls.go(-1) }),
    next: bare({ icon: "right", label: t("viewer.next"), class: "sl-button sl-bare sl-viewer-next", onclick: () => calls.go(1) }),
    words: h("div"),
    rest: h("div"),
    deeds: h("div", { class: "sl-viewer-deeds", role: "group", "aria-label": t("viewer.actions") }, DEEDS.map(([name, image]) =>
      button({ icon: image, label: t(`viewer.${name}`), kind: name === "use" ? "primary" : undefined, "data-deed": name, onclick: () => calls.do(name) }))),
  };
  const zooming = h("div", { class: "sl-viewer-zoom", role: "group", "aria-label": t("viewer.zoom") },
    bare({ icon: "minus", label: t("viewer.zoom_out"), onclick: () => calls.step(-1) }),
    parts.percent,
    bare({ icon: "plus", label: t("viewer.zoom_in"), onclick: () => calls.step(1) }));
  const tools = h("div", { class: "sl-viewer-tools" }, parts.heart, parts.compare, parts.link, parts.remove, parts.fold,
    bare({ icon: "close", label: t("close"), onclick: calls.close }));
  const panel = h("aside", { class: "sl-viewer-panel", id: "sl-viewer-panel", "aria-label": t("viewer.details"), tabindex: "0" }, parts.words, parts.deeds, parts.rest);
  const picture = h("div", { class: "sl-viewer-picture" }, parts.thumbnail, parts.image);
  const stage = h("div", { class: "sl-viewer-stage" }, picture, parts.notice, parts.previous, parts.next, zooming);
  const all = [h("header", { class: "sl-viewer-bar" }, parts.count, tools), h("div", { class: "sl-viewer-body" }, stage, panel)];
  return { ...parts, panel, picture, stage, all };
}
