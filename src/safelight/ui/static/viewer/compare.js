// Compare two pictures, one above the other with a movable divider; a table below lists the differences.

import { get } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { fileUrl, thumbnailUrl } from "../core/picture.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { BeforeAfter } from "./before_after.js";
import { differences } from "./metadata.js";
import { Overlay } from "./overlay.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {{id: string, decision?: string, missing?: boolean, prompt?: string}} ComparisonChoice */

const NEIGHBOURS = 20; // choices on either side of the picture

/** @type {Compare | null} */
let current = null;
let listening = false;

/**
 * Compare two pictures.
 * @param {string} one  shown on the left
 * @param {string} other
 * @param {{among?: ComparisonChoice[], revealed?: Iterable<string>, focus?: () => HTMLElement | null}} [options]  among: choices for the
 *   left picture; revealed: ids of pictures for review that the user has chosen to see
 */
export function openCompare(one, other, { among = [], revealed = [], focus } = {}) {
  if (!listening) for (const keys of ["Escape", "b"]) registerShortcut(keys, "close", () => current?.close(), { isActive: () => !!current?.overlay.isTop });
  listening = true;
  current = new Compare(one, other, among, new Set(revealed), focus);
}

class Compare {
  /** @param {string} one @param {string} other @param {ComparisonChoice[]} among @param {Set<string>} revealed @param {(() => HTMLElement | null) | undefined} focus */
  constructor(one, other, among, revealed, focus) {
    this.ids = [one, other];
    this.revealed = revealed;
    this.overlay = new Overlay("sl-compare", t("compare.title"), { focus, onclose: () => current === this && (current = null) });
    this.pictures = new BeforeAfter();
    this.stage = h("div", { class: "sl-compare-stage" }, this.pictures.element);
    this.revealButton = button({ icon: "eye", label: t("viewer.reveal"), hidden: true, onclick: () => this.#revealBoth() });
    this.sideBySideButton = button({ icon: "compare", label: t("compare.beside"), "aria-pressed": "false", onclick: () => this.#toggleSideBySide() });
    this.table = h("div", { class: "sl-compare-table", role: "region", "aria-label": t("compare.differences"), tabindex: "0" });
    this.choices = h("div", { class: "sl-compare-choices", role: "group", "aria-label": t("compare.pick") });
    this.overlay.box.append(
      h("header", { class: "sl-viewer-bar" }, h("h2", {}, t("compare.title")),
        h("div", { class: "sl-viewer-tools" }, this.revealButton, this.sideBySideButton,
          button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => this.close() }))),
      this.stage, this.choices, this.table,
    );
    this.#setChoices(among);
    this.overlay.open();
    this.pictures.slider.focus();
    this.#load();
  }

  close() {
    this.overlay.close();
  }

  /** Load both pictures and list their differences. */
  #load = withErrorToast(async () => {
    const ids = [...this.ids];
    for (const choice of this.choices.children) choice.setAttribute("aria-pressed", String(choice.getAttribute("data-id") === ids[0]));
    this.choices.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest", inline: "center" });
    /** @type {GalleryEntry[]} */
    const entries = await Promise.all(ids.map((id) => get(`/v1/gallery/${id}`)));
    if (ids.some((id, at) => id !== this.ids[at])) return;
    const shapes = entries.map(({ width, height }) => width / height);
    const small = entries.every(({ width, height }) => Math.max(width, height) <= 256);
    this.stage.style.setProperty("--sl-shape", String(shapes[0]));
    this.stage.style.setProperty("--sl-most", small ? `${4 * Math.max(...entries.map(({ width }) => width))}px` : "100%");
    this.pictures.images.forEach((image, at) => this.#renderPicture(image, entries[at]));
    this.revealButton.hidden = !entries.some((entry) => this.#isBlurred(entry));
    setChildren(this.table, this.#rows(entries[0], entries[1]));
  });

  /** @param {HTMLImageElement} image @param {GalleryEntry} entry */
  #renderPicture(image, entry) {
    const blurred = this.#isBlurred(entry);
    image.src = blurred ? thumbnailUrl(entry.id, 16) : fileUrl(entry.id);
    image.alt = blurred ? t("picture.review") : entry.prompt || t("picture.unnamed");
    image.classList.toggle("sl-compare-blurred", blurred);
  }

  /** Whether it is for review and has not been revealed. @param {GalleryEntry} entry */
  #isBlurred({ id, decision }) {
    return decision === "review" && !this.revealed.has(id);
  }

  #revealBoth() {
    for (const id of this.ids) this.revealed.add(id);
    this.pictures.slider.focus();
    return this.#load();
  }

  /** @param {GalleryEntry} one @param {GalleryEntry} other */
  #rows(one, other) {
    const rows = differences(one, other);
    if (!rows.length) return h("p", { class: "sl-hint" }, t("compare.same"));
    return h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "sl-hidden" }, t("compare.parameter"))),
        h("th", { scope: "col" }, t("compare.left")), h("th", { scope: "col" }, t("compare.right")))),
      h("tbody", {}, rows.map(([name, left, right]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, left || "–"), h("td", {}, right || "–")))));
  }

  /** Set the choices for the left picture. @param {ComparisonChoice[]} among */
  #setChoices(among) {
    const at = among.findIndex(({ id }) => id === this.ids[1]);
    const near = among.slice(Math.max(0, at - NEIGHBOURS), at + NEIGHBOURS + 1);
    const choices = near.filter(({ id, decision, missing }) => id !== this.ids[1] && decision === "allow" && !missing);
    this.choices.hidden = choices.length < 2;
    setChildren(this.choices, choices.map(({ id, prompt }) => {
      const name = prompt || t("picture.unnamed");
      const choose = () => ((this.ids[0] = id), this.#load());
      return h("button", { type: "button", "data-id": id, "aria-pressed": "false", "aria-label": t("compare.with", { name }), onclick: choose },
        h("img", { src: thumbnailUrl(id, 256), alt: "", loading: "lazy", decoding: "async" }));
    }));
  }

  /** Show the pictures side by side, or one above the other. */
  #toggleSideBySide() {
    const sideBySide = this.stage.classList.toggle("sl-beside");
    this.sideBySideButton.setAttribute("aria-pressed", String(sideBySide));
    this.pictures.slider.hidden = sideBySide;
    this.pictures.movable = !sideBySide;
  }
}
