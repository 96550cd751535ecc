// Keeps the edited picture and what was painted on it over a reload, in the browser's database: one entry, which is removed with the picture.

import { transact } from "../core/database.js";

/** @typedef {{blob: Blob, parent: string | null}} StoredPicture */
/** @typedef {{mask: Blob | null, sides: import("./handles.js").Sides, blur: number}} StoredEdits */
/** @typedef {StoredPicture & {key: string, owner: string}} PictureRecord  key: equal to that of its edits */
/** @typedef {StoredEdits & {key: string, job: string | null}} EditsRecord  job: whose result is laid over the picture */

const DATABASE = "safelight.editor", STORE = "edited";
const DELAY = 300; // milliseconds after the last change
const MAX_BYTES = 128 << 20; // of a picture

export class EditorStorage {
  /** The job whose result is laid over the picture. @type {string | null} */
  job = null;
  /** The picture that is stored, and the key of its record. @type {{blob: Blob | null, key: string}} */
  #stored = { blob: null, key: "" };
  #restored = false;
  #timer = 0;

  /**
   * @param {import("../editor.js").Editor} editor
   * @param {string} owner  whose picture it is; another one's is not restored
   * @param {(reason: "size" | "failed" | null) => void} onstate  called with the reason why the picture is not kept, or null
   */
  constructor(editor, owner, onstate) {
    this.editor = editor;
    this.owner = owner;
    this.onstate = onstate;
    addEventListener("visibilitychange", () => document.visibilityState === "hidden" && this.#timer && void this.#store());
  }

  /** Store what is edited, soon. */
  schedule() {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#store(), DELAY);
  }

  /** Show what was edited before a reload. */
  async restore() {
    try {
      const [picture, edits] = await Promise.all([read("picture"), read("edits")]);
      if (!picture || !edits || picture.key !== edits.key || picture.owner !== this.owner) return void (picture && (await clearEditorStorage()));
      await this.editor.restore(picture, edits);
      if (this.editor.picture !== picture.blob) return;
      this.#stored = { blob: picture.blob, key: picture.key };
      this.job = edits.job;
    } catch {
      // A private window, or a file that the browser has lost: there is nothing to restore.
    } finally {
      this.#restored = true;
    }
  }

  async #store() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#restored) return;
    const { editor, owner, job } = this;
    const blob = editor.picture;
    try {
      if (!blob || blob.size > MAX_BYTES) {
        if (this.#stored.blob) await clearEditorStorage();
        this.#stored = { blob: null, key: "" };
        return this.onstate(blob && "size");
      }
      const edits = await editor.stored();
      if (!edits || editor.picture !== blob) return; // another change stores it
      const isNew = this.#stored.blob !== blob;
      const key = isNew ? `${Date.now()}.${Math.random()}` : this.#stored.key;
      await write({ edits: { ...edits, key, job }, ...(isNew && { picture: { blob, parent: editor.parent, owner, key } }) });
      this.#stored = { blob, key };
      this.onstate(null);
    } catch {
      this.onstate("failed");
    }
  }
}

/** Remove the entry. */
export async function clearEditorStorage() {
  await transact(DATABASE, STORE, "readwrite", (store) => store.clear());
}

/** @param {"picture" | "edits"} name @returns {Promise<any>} */
const read = (name) => transact(DATABASE, STORE, "readonly", (store) => store.get(name));

/** @param {{edits: EditsRecord, picture?: PictureRecord}} records */
async function write(records) {
  await transact(DATABASE, STORE, "readwrite", (store) => {
    for (const [name, record] of Object.entries(records)) store.put(record, name);
  });
}
