// Editing on the stage: the editor in place of the selected job, the size to generate, and the results laid over the picture.

import { read, request } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { scrollToElement } from "../core/scroll.js";
import { registerShortcut } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { toast } from "../core/toast.js";
import { Editor } from "../editor.js";
import { TOOL_KEYS } from "../editor/keyboard.js";
import { offerSegmentation } from "../editor/segmentation.js";
import { EditorStorage } from "../editor/storage.js";
import { showPane } from "../panes.js";
import { noDialogOpen } from "../viewer/overlay.js";
import { EditResult } from "./edit_result.js";
import { OutputSize } from "./output_size.js";

const OPEN_KEY = "safelight.editing"; // in sessionStorage: whether the editor was open

export class Editing {
  /** The picture that was edited at the last change. @type {Blob | null} */
  #picture = null;
  #askedForSegmentation = false;

  /**
   * @param {HTMLElement} root  the stage's pane
   * @param {import("../types").PageContext} context
   * @param {{form: import("../form.js").Form, pictures: import("../core/job_pictures.js").JobPictures}} parts
   */
  constructor(root, context, { form, pictures }) {
    this.root = root;
    this.context = context;
    this.form = form;
    const editor = (this.editor = new Editor(h("div", { id: "sl-editor" }), {
      dropTarget: root,
      onchange: () => form.notifyChange(),
      onsize: () => this.size.apply(),
      onopen: (picture) => (this.open(), void this.#takePrompt(picture)),
    }));
    this.storageNote = h("p", { class: "sl-hint sl-editing-note", hidden: true });
    this.size = new OutputSize(form, editor);
    this.storage = new EditorStorage(editor, context.me.owner, (reason) => this.#showStorageState(reason));
    this.result = new EditResult(context, { form, editor, pictures, onchange: (job) => ((this.storage.job = job), this.storage.schedule()) });
    const done = button({ icon: "check", label: t("editing.done"), title: `${t("editing.done")} (${t("key.Escape")})`, onclick: () => this.close(), class: "sl-button sl-editing-done" });
    this.element = h("section", { class: "sl-editing", "aria-label": t("editing.title"), hidden: true }, done, editor.root);
    editor.header.append(this.result.element);
    editor.footer.append(this.size.element, this.storageNote);
    form.subscribe(() => this.#onChange());
    addEventListener("sl:edit", () => this.open());
    addEventListener("sl:entry", (event) => {
      const { kind, id } = /** @type {CustomEvent} */ (event).detail;
      if (kind === "removed" || kind === "restored") editor.setDeleted(id, kind === "removed");
    });
    registerShortcut("Escape", "editing.done", () => this.close(), { isActive: () => this.active && noDialogOpen() });
    const whileActive = { isActive: () => this.active }; // the editor hears these keys itself; here they are registered for the lists of shortcuts and actions
    for (const [key, name] of Object.entries(TOOL_KEYS)) registerShortcut(key, `keys.edit.${name}`, () => editor.run(name), { isActive: () => this.active && !editor.toolbar.buttons[name].hidden });
    registerShortcut("[", "keys.edit.smaller", () => editor.resizeBrush(-1), whileActive);
    registerShortcut("]", "keys.edit.larger", () => editor.resizeBrush(1), whileActive);
    void this.#restore();
  }

  get active() {
    return !this.element.hidden && this.element.checkVisibility();
  }

  /** Show the editor. */
  open() {
    this.#setOpen(true);
    showPane("stage");
    void scrollToElement(this.element, { focus: this.editor.picture ? this.editor.scene.stage : this.editor.dropzone.element.querySelector("button") });
  }

  /** Show the selected job again; the picture stays in the editor. */
  close() {
    if (this.element.hidden) return;
    const focused = this.element.contains(document.activeElement) || document.activeElement === document.body;
    this.#setOpen(false);
    if (focused) this.root.querySelector(/** @type {"section"} */ (".sl-stage-job"))?.focus();
  }

  /** A job was submitted: if it changes the edited picture, its result is laid over it. @param {import("../types").Job} job @returns {boolean}  whether it is */
  follow(job) {
    if (this.element.hidden || !this.editor.picture || job.kind !== "generate" || !job.request.init_image) return false;
    this.result.follow(job.id);
    return true;
  }

  /** @param {boolean} open */
  #setOpen(open) {
    this.element.hidden = !open;
    this.root.classList.toggle("sl-stage-editing", open);
    if (open && !this.#askedForSegmentation) void offerSegmentation(this.editor);
    this.#askedForSegmentation ||= open;
    if (open) sessionStorage.setItem(OPEN_KEY, "1");
    else sessionStorage.removeItem(OPEN_KEY);
  }

  async #restore() {
    await this.storage.restore();
    if (!this.editor.picture) return sessionStorage.removeItem(OPEN_KEY);
    if (sessionStorage.getItem(OPEN_KEY)) this.#setOpen(true);
    if (this.storage.job) this.result.follow(this.storage.job);
  }

  #onChange() {
    const { picture } = this.editor;
    if (picture !== this.#picture) {
      this.#picture = picture;
      this.result.discard();
      if (picture) void this.form.openAccordion("edit"); // the strength belongs to the picture
    }
    this.size.update();
    this.storage.schedule();
  }

  /** Take over a picture's prompt and sampling; one that was typed stays, unless the picture is from the gallery. @param {Blob} picture */
  async #takePrompt(picture) {
    /** @type {import("../types").RecallResult | null} */
    const recalled = await request("POST", "/v1/recall", { body: picture, headers: { "Content-Type": picture.type || "application/octet-stream" } }).then(read).catch(() => null);
    if (!recalled || recalled.source === "none" || this.editor.picture !== picture) return; // a photograph, or a file that only the browser can read
    const take = () => this.form.takePrompt(recalled);
    if (this.editor.parent || !String(this.form.values.prompt).trim()) take();
    else if (recalled.fields.prompt !== this.form.values.prompt) toast(t("editing.prompt.offer"), { action: { label: t("editing.prompt.take"), run: take } });
  }

  /** @param {"size" | "failed" | null} reason */
  #showStorageState(reason) {
    this.storageNote.hidden = !reason;
    if (reason) this.storageNote.textContent = t(`editing.storage.${reason}`);
  }
}
