// The elements of the viewer: a bar, the stage with the picture, and the panel next to it.

import { chooserButton } from "../actions/chooser.js";
import { ACTIONS, hasChoices } from "../actions/list.js";
import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

/**
 * @typedef {{favourite: () => void, remove: () => void, compare: () => void, togglePanel: () => void, close: () => void, fit: () => void,
 *   step: (direction: 1 | -1) => void, navigate: (by: 1 | -1) => void, runAction: (name: import("../actions/list.js").ActionName) => void,
 *   choose: (name: import("../actions/list.js").ChoiceName, place: HTMLElement) => void}} ViewerHandlers
 */

/** @param {ViewerHandlers} handlers */
export function makeElements(handlers) {
  const iconButton = (/** @type {any} */ options) => button({ iconOnly: true, ...options });
  const label = t("viewer.download");
  const parts = {
    count: h("span", { class: "sl-viewer-count", role: "status" }),
    favourite: iconButton({ icon: "heart", label: t("viewer.favourite"), class: "sl-button sl-bare sl-heart", "aria-pressed": "false", onclick: handlers.favourite }),
    compare: iconButton({ icon: "compare", label: t("viewer.compare"), onclick: handlers.compare }),
    link: h("a", { class: "sl-button sl-bare", title: label, "aria-label": label }, icon("download")),
    remove: iconButton({ icon: "trash", label: t("viewer.delete"), onclick: handlers.remove }),
    panelToggle: iconButton({ icon: "info", label: t("viewer.details"), "aria-controls": "sl-viewer-panel", onclick: handlers.togglePanel }),
    zoomLevel: button({ label: "100 %", kind: "quiet", title: t("viewer.fit"), onclick: handlers.fit }),
    thumbnail: h("img", { alt: "", draggable: "false" }),
    image: h("img", { alt: "", draggable: "false", decoding: "async" }),
    notice: h("div", { class: "sl-viewer-notice" }),
    previous: iconButton({ icon: "left", label: t("viewer.previous"), class: "sl-button sl-bare sl-viewer-previous", onclick: () => handlers.navigate(-1) }),
    next: iconButton({ icon: "right", label: t("viewer.next"), class: "sl-button sl-bare sl-viewer-next", onclick: () => handlers.navigate(1) }),
    promptSection: h("div"),
    detailsSection: h("div"),
    lineageSection: h("section", { hidden: true }),
    actions: new Map(ACTIONS.map(({ name, icon: image }) => [name, button({ icon: image, label: t(`viewer.${name}`), kind: name === "use" ? "primary" : undefined, "data-action": name, onclick: () => handlers.runAction(name) })])),
    choosers: new Map(ACTIONS.map(({ name }) => name).filter(hasChoices).map((name) => [name, chooserButton(name, (place) => handlers.choose(name, place))])),
  };
  const actionButtons = h("div", { class: "sl-viewer-actions", role: "group", "aria-label": t("viewer.actions") },
    [...parts.actions].map(([name, element]) => (hasChoices(name) ? h("span", { class: "sl-split" }, element, parts.choosers.get(name)) : element)));
  const zoomButtons = h("div", { class: "sl-viewer-zoom", role: "group", "aria-label": t("viewer.zoom") },
    iconButton({ icon: "minus", label: t("viewer.zoom_out"), onclick: () => handlers.step(-1) }),
    parts.zoomLevel,
    iconButton({ icon: "plus", label: t("viewer.zoom_in"), onclick: () => handlers.step(1) }));
  const tools = h("div", { class: "sl-viewer-tools" }, parts.favourite, parts.compare, parts.link, parts.remove, parts.panelToggle,
    iconButton({ icon: "close", label: t("close"), onclick: handlers.close }));
  const panel = h("aside", { class: "sl-viewer-panel", id: "sl-viewer-panel", "aria-label": t("viewer.details"), tabindex: "0" }, parts.promptSection, actionButtons, parts.lineageSection, parts.detailsSection);
  const picture = h("div", { class: "sl-viewer-picture" }, parts.thumbnail, parts.image);
  const stage = h("div", { class: "sl-viewer-stage" }, picture, parts.notice, parts.previous, parts.next, zoomButtons);
  const all = [h("header", { class: "sl-viewer-bar" }, parts.count, tools), h("div", { class: "sl-viewer-body" }, stage, panel)];
  return { ...parts, zoomButtons, panel, picture, stage, all };
}

