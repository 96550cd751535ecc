// The actions on the picture that the stage shows, as a bar of buttons with keys.

import { get } from "../core/api.js";
import { button, h, icon } from "../core/dom.js";
import { fileUrl } from "../core/picture.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { showError, withErrorToast } from "../core/toast.js";
import { ACTIONS } from "../viewer/elements.js";
import { noDialogOpen } from "../viewer/overlay.js";

/** @typedef {import("../types").OutputPicture} OutputPicture */

export class PictureActions {
  /** @type {OutputPicture | null} */
  #picture = null;
  /** Whether pictures are favourites, by id, as far as it is known. @type {Map<string, boolean>} */
  #favourites = new Map();

  /** @param {import("../types").PageContext} context */
  constructor(context) {
    this.context = context;
    const label = t("viewer.download");
    this.favouriteButton = button({ icon: "heart", label: t("viewer.favourite"), iconOnly: true, class: "sl-button sl-bare sl-heart", "aria-pressed": "false", onclick: () => this.favourite() });
    this.link = h("a", { class: "sl-button sl-bare", title: label, "aria-label": label }, icon("download"));
    this.fileButtons = ACTIONS.map(([name, image]) => button({ icon: image, label: t(`viewer.${name}`), class: "sl-button sl-bare sl-action", "data-action": name, onclick: () => this.#run(name) }));
    this.removeButton = button({ icon: "trash", label: t("viewer.delete"), iconOnly: true, onclick: () => this.remove() });
    this.element = h("div", { class: "sl-stage-actions", role: "toolbar", "aria-label": t("viewer.actions"), inert: true }, this.favouriteButton, this.fileButtons, this.link, this.removeButton);
    addEventListener("sl:entry", (event) => {
      const { kind, id, favourite } = /** @type {CustomEvent} */ (event).detail;
      if (kind === "favourite") this.#setFavourite(id, favourite);
    });
    this.#registerShortcuts();
  }

  /** Offer the actions on a picture. @param {OutputPicture | null} picture  null: none */
  show(picture) {
    if (picture?.id === this.#picture?.id) return;
    this.#picture = picture;
    this.element.inert = !picture; // it keeps its place, so that the picture does not move when it is finished
    if (!picture) return;
    const hasFile = picture.decision !== "block";
    for (const each of this.fileButtons) each.disabled = !hasFile;
    this.link.hidden = !hasFile;
    this.link.href = fileUrl(picture.id);
    this.link.download = picture.id;
    this.#renderFavourite();
    if (!this.#favourites.has(picture.id)) get(`/v1/gallery/${picture.id}`).then(({ favourite }) => this.#setFavourite(picture.id, favourite), () => {});
  }

  favourite() {
    if (!this.#picture) return;
    const { id } = this.#picture;
    const favourite = !this.#favourites.get(id);
    this.#announce({ kind: "favourite", id, favourite });
    this.context.actions.favourite(id, favourite).catch((error) => {
      this.#announce({ kind: "favourite", id, favourite: !favourite });
      showError(error);
    });
  }

  remove() {
    if (!this.#picture) return;
    const { id } = this.#picture;
    this.context.actions.remove(id, {
      hide: () => this.#announce({ kind: "removed", id }),
      restore: () => this.#announce({ kind: "restored", id }),
    });
  }

  /** @param {import("../viewer/elements.js").ActionName} name */
  #run = withErrorToast(async (/** @type {import("../viewer/elements.js").ActionName} */ name) => {
    if (this.#picture && this.#picture.decision !== "block") await this.context.actions[name](this.#picture.id);
  });

  /** Tell all parts of the page about a change. @param {import("../viewer.js").EntryChange} change */
  #announce(change) {
    dispatchEvent(new CustomEvent("sl:entry", { detail: change }));
  }

  /** @param {string} id @param {boolean} favourite */
  #setFavourite(id, favourite) {
    this.#favourites.set(id, favourite);
    this.#renderFavourite();
  }

  #renderFavourite() {
    this.favouriteButton.setAttribute("aria-pressed", String(!!this.#picture && !!this.#favourites.get(this.#picture.id)));
  }

  #registerShortcuts() {
    const isActive = () => !!this.#picture && noDialogOpen() && this.element.checkVisibility({ visibilityProperty: true });
    for (const [name, , key] of ACTIONS) registerShortcut(key, `viewer.${name}`, () => void this.#run(name), { isActive });
    registerShortcut("d", "viewer.download", () => this.link.click(), { isActive: () => isActive() && !this.link.hidden });
    registerShortcut("f", "viewer.favourite", () => this.favourite(), { isActive });
    registerShortcut("Delete", "viewer.delete", () => this.remove(), { isActive });
  }
}
