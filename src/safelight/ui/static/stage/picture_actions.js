// The actions on a picture of the stage: a bar below the only one, buttons on the one of several under the pointer or with the focus, a menu, and keys.

import { chooserButton } from "../actions/chooser.js";
import { ACTIONS, CHOICES, hasChoices } from "../actions/list.js";
import { button, h, icon } from "../core/dom.js";
import { openMenu } from "../core/menu.js";
import { fileUrl } from "../core/picture.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { noDialogOpen } from "../viewer/overlay.js";

/** @typedef {import("../types").OutputPicture} OutputPicture */
/** @typedef {import("../actions/list.js").ActionName} ActionName */
/** @typedef {import("../actions/list.js").ChoiceName} ChoiceName */
/** @typedef {{open: (picture: OutputPicture) => void, compare: (picture: OutputPicture) => unknown, isCompared: (picture: OutputPicture) => boolean}} StageCalls */

const ON_PICTURE = /** @type {const} */ (["vary", "upscale", "edit"]); // shown on the picture itself
const BAR = /** @type {const} */ (["use", "sameSeed", "vary", "upscale", "edit"]); // shown below it; the menu has all

export class PictureActions {
  /** The only picture on the stage. @type {OutputPicture | null} */
  #alone = null;
  /** The one of several under the pointer or with the focus. @type {OutputPicture | null} */
  #pointed = null;
  /** @type {HTMLElement[]} */
  #needFile = [];
  /** @type {HTMLButtonElement[]} */
  #hearts = [];

  /** @param {import("../types").PageContext} context @param {import("../core/entries.js").Entries} entries @param {StageCalls} stage */
  constructor(context, entries, stage) {
    this.context = context;
    this.entries = entries;
    this.stage = stage;
    const label = t("viewer.download");
    this.link = h("a", { class: "sl-button sl-bare sl-roomy", title: label, "aria-label": label }, icon("download"));
    this.compareButton = button({ icon: "compare", label: t("viewer.compare.source"), iconOnly: true, class: "sl-button sl-bare sl-roomy", "aria-pressed": "false", onclick: () => this.compare() });
    const remove = button({ icon: "trash", label: t("viewer.delete"), iconOnly: true, class: "sl-button sl-bare sl-roomy", onclick: () => this.remove() });
    this.element = h("div", { class: "sl-stage-actions", role: "toolbar", "aria-label": t("viewer.actions"), inert: true },
      this.#heart(), BAR.map((name) => this.#action(name)), this.compareButton, this.link, remove, this.#more());
    this.overlay = h("div", { class: "sl-cell-actions", role: "toolbar", "aria-label": t("viewer.actions") },
      this.#heart(), ON_PICTURE.map((name) => this.#action(name, true)), this.#more());
    this.#needFile.push(this.link);
    addEventListener("sl:entry", () => this.#render()); // the entries have heard of it first
    this.#registerShortcuts();
  }

  /** The picture that keys act on. @returns {OutputPicture | null} */
  get picture() {
    return this.#alone ?? (this.overlay.isConnected ? this.#pointed : null);
  }

  /** Offer the actions below the only picture. @param {OutputPicture | null} picture  null: there are several, or none */
  show(picture) {
    this.element.inert = !picture; // it keeps its place, so that the picture does not move when it is finished
    this.#alone = picture;
    if (picture) this.overlay.remove();
    this.#render();
  }

  /** Offer the actions on one of several pictures. @param {HTMLElement | null} cell @param {OutputPicture | null} picture  null: on none */
  point(cell, picture) {
    const { activeElement } = document;
    if (this.overlay.parentElement !== cell && activeElement instanceof HTMLElement && this.overlay.contains(activeElement)) activeElement.blur(); // first: it calls this again
    this.#pointed = picture;
    if (this.#alone || !cell || !picture) return this.overlay.remove();
    if (this.overlay.parentElement !== cell) cell.append(this.overlay);
    this.#render();
  }

  /** @param {OutputPicture} picture @param {import("../core/popover.js").Place} place */
  openMenu(picture, place) {
    openMenu(place, t("viewer.actions"), this.menuItems(picture, place, { open: () => this.stage.open(picture), compare: () => this.compare(picture) }));
  }

  /**
   * The actions on a picture, for a menu; without a file there are few.
   * @param {OutputPicture} picture
   * @param {import("../core/popover.js").Place} place
   * @param {{open: () => unknown, compare: () => unknown}} calls
   * @returns {import("../core/popover.js").MenuItem[]}
   */
  menuItems(picture, place, { open, compare }) {
    void this.#loadFavourite(picture);
    const hasFile = picture.decision !== "block";
    const action = (/** @type {typeof ACTIONS[number]} */ { name, icon: image, keys }) => ({ icon: image, label: t(`viewer.${name}`), keys, run: () => this.#run(name, picture) });
    const choice = (/** @type {ChoiceName} */ name) => ({ label: t(`${name}.choose`), keys: CHOICES[name], run: () => this.#choose(name, picture, place) });
    const item = (/** @type {import("../core/popover.js").MenuItem} */ made, needsFile = true) => (hasFile || !needsFile ? [made] : []);
    return [
      ...item({ icon: "heart", label: t(this.entries.get(picture.id)?.favourite ? "viewer.favourite.not" : "viewer.favourite"), keys: "f", run: () => this.favourite(picture) }),
      ...ACTIONS.filter(({ name, needsFile }) => (hasFile || !needsFile) && this.context.actions.offers(name)).flatMap((each) => [action(each), ...(hasChoices(each.name) ? [choice(each.name)] : [])]),
      ...item({ icon: "compare", label: t(picture.parent_id ? "viewer.compare.source" : "viewer.compare"), keys: "b", run: compare }),
      ...item({ icon: "download", label: t("viewer.download"), keys: "d", run: () => this.#download(picture) }),
      ...item({ icon: "fit", label: t("jobs.open"), keys: "Enter", run: open }, false),
      ...item({ icon: "trash", label: t("viewer.delete"), keys: "Delete", run: () => this.remove(picture) }, false),
    ];
  }

  favourite(picture = this.picture) {
    if (picture && picture.decision !== "block") void this.#toggleFavourite(picture.id);
  }

  #toggleFavourite = withErrorToast(async (/** @type {string} */ id) => {
    const favourite = !(await this.entries.load(id))?.favourite;
    this.#announce({ kind: "favourite", id, favourite });
    await this.context.actions.favourite(id, favourite).catch((error) => {
      this.#announce({ kind: "favourite", id, favourite: !favourite });
      throw error;
    });
  });

  remove(picture = this.picture) {
    if (!picture) return;
    const { id } = picture;
    this.context.actions.remove(id, {
      hide: () => this.#announce({ kind: "removed", id }),
      restore: () => this.#announce({ kind: "restored", id }),
    });
  }

  compare(picture = this.picture) {
    if (picture) void this.stage.compare(picture);
  }

  /** @param {OutputPicture} picture */
  #download({ id }) {
    h("a", { href: fileUrl(id), download: id }).click();
  }

  #run = withErrorToast(async (/** @type {ActionName} */ name, picture = this.picture) => {
    const action = ACTIONS.find((each) => each.name === name);
    if (picture && !(action?.needsFile && picture.decision === "block")) await this.context.actions[name](picture.id);
  });

  #choose = withErrorToast(async (/** @type {ChoiceName} */ name, picture = this.picture, /** @type {import("../core/popover.js").Place | undefined} */ place = undefined) => {
    if (!picture || picture.decision === "block") return;
    const choosers = [...this.element.querySelectorAll(/** @type {"button"} */ (`[data-choose="${name}"]`))];
    await this.context.actions.choose(name, picture.id, place ?? choosers.find((each) => each.checkVisibility()) ?? this.overlay.parentElement ?? this.element);
  });

  /** Tell all parts of the page about a change. @param {import("../viewer.js").EntryChange} change */
  #announce(change) {
    dispatchEvent(new CustomEvent("sl:entry", { detail: change }));
  }

  #render() {
    const { picture } = this;
    if (!picture) return;
    const hasFile = picture.decision !== "block";
    for (const each of [...this.#needFile, ...this.#hearts]) each.hidden = !hasFile;
    this.link.href = fileUrl(picture.id);
    this.link.download = picture.id;
    this.compareButton.hidden = !picture.parent_id || !hasFile;
    this.compareButton.setAttribute("aria-pressed", String(this.stage.isCompared(picture)));
    for (const heart of this.#hearts) heart.setAttribute("aria-pressed", String(!!this.entries.get(picture.id)?.favourite));
    void this.#loadFavourite(picture);
  }

  /** @param {OutputPicture} picture */
  async #loadFavourite({ id }) {
    if (this.entries.get(id) !== undefined) return;
    await this.entries.load(id).catch(() => null); // without it, a press on the heart tries again
    if (this.picture?.id === id && this.entries.get(id)) this.#render();
  }

  #heart() {
    const made = button({ icon: "heart", label: t("viewer.favourite"), iconOnly: true, class: "sl-button sl-bare sl-heart", "aria-pressed": "false", onclick: () => this.favourite() });
    this.#hearts.push(made);
    return made;
  }

  /** A button for an action, and where it can be asked how, a second one. @param {typeof BAR[number]} name @param {boolean} [iconOnly] */
  #action(name, iconOnly = false) {
    const { icon: image, keys } = /** @type {typeof ACTIONS[number]} */ (ACTIONS.find((each) => each.name === name));
    const made = button({ icon: image, label: t(`viewer.${name}`), iconOnly, class: `sl-button sl-bare sl-action${name === "sameSeed" ? " sl-roomy" : ""}`, "data-action": name, "aria-keyshortcuts": keys, onclick: () => this.#run(name) });
    this.#needFile.push(made);
    if (iconOnly || !hasChoices(name)) return made;
    made.title = t(`viewer.${name}`);
    const chooser = chooserButton(name, (place) => this.#choose(name, this.picture, place));
    chooser.dataset.choose = name;
    this.#needFile.push(chooser);
    return h("span", { class: "sl-split" }, made, chooser);
  }

  #more() {
    /** @type {HTMLButtonElement} */
    const made = button({ icon: "more", label: t("viewer.more"), iconOnly: true, class: "sl-button sl-bare sl-more", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => this.picture && this.openMenu(this.picture, made) });
    return made;
  }

  #registerShortcuts() {
    const isActive = () => !!this.picture && noDialogOpen() && (this.#alone ? this.element : this.overlay).checkVisibility({ visibilityProperty: true });
    for (const { name, keys } of ACTIONS) registerShortcut(keys, `viewer.${name}`, () => void this.#run(name), { isActive: () => isActive() && this.context.actions.offers(name) });
    for (const name of /** @type {ChoiceName[]} */ (Object.keys(CHOICES))) registerShortcut(CHOICES[name], `${name}.choose`, () => void this.#choose(name), { isActive });
    registerShortcut("b", "viewer.compare.source", () => this.compare(), { isActive });
    registerShortcut("d", "viewer.download", () => this.link.click(), { isActive: () => isActive() && !this.link.hidden });
    registerShortcut("f", "viewer.favourite", () => this.favourite(), { isActive });
    registerShortcut("Delete", "viewer.delete", () => this.remove(), { isActive });
  }
}
