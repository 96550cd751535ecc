// What can be done with several pictures of the gallery at once.

import { dialog } from "../core/dialog.js";
import { button, h } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";
import { openCompare } from "../viewer/compare.js";
import { deleteNow, downloadFile, downloadZip, mark, MAX_IDS } from "./bulk.js";
import { TagEditor } from "./tag_editor.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */
/** @typedef {import("../viewer.js").EntryChange} EntryChange */

export class BulkActions {
  /**
   * @param {{
   *   context: import("../types").PageContext,
   *   results: import("./results.js").Results,
   *   collections: import("./collections.js").Collections,
   *   collection: () => string,
   *   announce: (change: EntryChange) => void,
   *   removed: (index: number) => void,
   *   done: () => unknown,
   *   focus: (id: string) => HTMLElement | null,
   * }} parts  collection: id of the collection that is shown, or empty; announce: report a change to the whole page; removed: called with
   *   the index of the first of the pictures that have been removed; done: marks have changed; focus: focus a picture's tile
   */
  constructor(parts) {
    this.parts = parts;
  }

  /** @param {import("./selection_bar.js").BulkAction} action @param {GalleryEntry[]} entries */
  run(action, entries) {
    if (entries.length) return this[action](entries);
  }

  /** Mark all as favourites, or unmark them if all are. @param {GalleryEntry[]} entries */
  async favourite(entries) {
    const favourite = !entries.every((entry) => entry.favourite);
    await this.#mark(entries, { favourite });
    toast(t(favourite ? "selection.favourite.done" : "selection.favourite.undone", { n: entries.length }));
  }

  /** Add and remove tags in a dialog. @param {GalleryEntry[]} entries */
  tags(entries) {
    const ids = entries.map(({ id }) => id);
    const current = () => this.parts.results.entries.filter(({ id }) => idSet.has(id));
    const idSet = new Set(ids);
    const change = (/** @type {import("./bulk.js").Change} */ changes) => withErrorToast(async () => {
      await this.#mark(current(), changes);
      show();
    })();
    const editor = new TagEditor({ onadd: (tags) => change({ add_tags: tags }), onremove: (tag) => change({ remove_tags: [tag] }) });
    const show = () => {
      const counts = countTags(current());
      editor.show([...counts.keys()], Object.fromEntries([...counts].map(([tag, n]) => [tag, n < ids.length ? `${formatNumber(n)}/${formatNumber(ids.length)}` : ""])));
    };
    show();
    dialog(t("tags.title", { n: ids.length }), h("div", { class: "sl-gallery-dialog" }, editor.element));
    editor.field.focus();
  }

  /** Add them to a collection. @param {GalleryEntry[]} entries */
  async collect(entries) {
    await this.parts.collections.choose(entries.length, async ({ id, name }) => {
      await this.#mark(entries, { add_to: [id] });
      toast(t("collections.added", { n: entries.length, name }));
    });
  }

  /** Remove them from the collection that is shown. @param {GalleryEntry[]} entries */
  async uncollect(entries) {
    const id = this.parts.collection(), name = this.parts.collections.nameOf(id);
    const { results } = this.parts;
    const index = results.indexOf(entries[0].id);
    const undo = withErrorToast(async () => {
      await this.#mark(entries, { add_to: [id] });
      results.batch(() => entries.toReversed().forEach((entry) => results.restore(entry.id)));
      await this.parts.collections.refresh();
    });
    await this.#mark(entries, { remove_from: [id] });
    results.batch(() => entries.forEach((entry) => results.remove(entry.id)));
    this.parts.removed(index);
    toast(t("collections.removed", { n: entries.length, name }), { action: { label: t("undo"), run: undo } });
    await this.parts.collections.refresh();
  }

  /** Download the file of one, or an archive of several. @param {GalleryEntry[]} entries */
  async download(entries) {
    const files = entries.filter(hasFile);
    if (!files.length) return toast(t("selection.no_file"), { kind: "error" });
    if (files.length > MAX_IDS) return toast(t("selection.download.limit", { n: MAX_IDS }), { kind: "error" });
    const left = entries.length - files.length;
    if (left) toast(t("selection.download.left", { n: left }));
    if (files.length === 1) return downloadFile(files[0]);
    toast(t("selection.download.started", { n: files.length }));
    await downloadZip(files.map(({ id }) => id));
  }

  /** Let the model look at them. @param {GalleryEntry[]} entries */
  async reference(entries) {
    await this.parts.context.actions.reference(entries.filter(hasFile).map(({ id }) => id));
  }

  /** @param {GalleryEntry[]} entries */
  compare(entries) {
    if (entries.length !== 2) return;
    if (!entries.every(hasFile)) return toast(t("gallery.choose.not"));
    const [one, other] = entries.map(({ id }) => id);
    openCompare(one, other, { among: this.parts.results.entries, focus: () => this.parts.focus(other) });
  }

  /** Delete them after a few seconds in which it can be undone; very many at once, after a question. @param {GalleryEntry[]} entries */
  remove(entries) {
    const { context, results, announce, removed } = this.parts;
    const ids = entries.map(({ id }) => id);
    const index = results.indexOf(ids[0]);
    const hide = () => {
      results.batch(() => ids.forEach((id) => announce({ kind: "removed", id })));
      removed(index);
    };
    const restore = (/** @type {string[]} */ some) => results.batch(() => some.toReversed().forEach((id) => announce({ kind: "restored", id })));
    if (ids.length <= MAX_IDS) return context.actions.remove(ids, { hide, restore: () => restore(ids) });
    const removeAll = withErrorToast(async () => {
      box.close();
      hide();
      const failed = (await deleteNow(ids)).filter(({ error }) => error && error.code !== "gallery.missing");
      if (failed.length) restore(failed.map(({ id }) => id));
      toast(t("deleted", { n: ids.length - failed.length }));
    });
    const box = dialog(t("selection.remove.many", { n: ids.length }), h("p", {}, t("selection.remove.many.hint", { n: MAX_IDS })),
      h("div", { class: "sl-bar" }, h("span"), button({ icon: "trash", label: t("selection.remove"), kind: "primary", onclick: removeAll })));
  }

  /** Change marks, and show the result. @param {GalleryEntry[]} entries @param {import("./bulk.js").Change} change */
  async #mark(entries, change) {
    const changed = await mark(entries.map(({ id }) => id), change);
    this.parts.results.batch(() => {
      for (const { id, favourite, tags, collections } of changed) {
        if ("favourite" in change) this.parts.announce({ kind: "favourite", id, favourite });
        else this.parts.announce({ kind: "marks", id, tags, collections });
      }
    });
    await this.parts.done();
  }
}

/** @param {GalleryEntry} entry */
const hasFile = ({ decision, missing }) => decision !== "block" && !missing;

/** How many of the pictures have each tag, the most frequent first. @param {GalleryEntry[]} entries @returns {Map<string, number>} */
function countTags(entries) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { tags } of entries) for (const tag of tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return new Map([...counts].sort(([, one], [, other]) => other - one));
}
