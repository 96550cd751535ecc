// Small copies of local pictures, two made at a time, so that a thousand large files never lie in memory together.

const SIDE = 320; // pixels
const LANES = 2;

/** @typedef {{url: string, width: number, height: number}} Thumbnail */

export class Thumbnails {
  /** @type {Map<File, Promise<Thumbnail | null>>} */
  #made = new Map();
  /** @type {(() => void)[]} */
  #turns = [];
  #busy = 0;

  /**
   * A picture's small copy; null where the browser cannot read it.
   * @param {File} file
   */
  of(file) {
    const made = this.#made.get(file) ?? this.#make(file);
    this.#made.set(file, made);
    return made;
  }

  /** Free them all. */
  clear() {
    for (const made of this.#made.values()) void made.then((thumbnail) => thumbnail && URL.revokeObjectURL(thumbnail.url));
    this.#made.clear();
  }

  /** @param {File} file @returns {Promise<Thumbnail | null>} */
  async #make(file) {
    if (this.#busy >= LANES) await new Promise((resolve) => this.#turns.push(() => resolve(null)));
    this.#busy += 1;
    try {
      return await shrunk(file);
    } catch {
      return null; // a kind that the server can read and the browser cannot, such as HEIC: the card says so
    } finally {
      this.#busy -= 1;
      this.#turns.pop()?.(); // what was wanted last is what is looked at now
    }
  }
}

/** @param {File} file @returns {Promise<Thumbnail>} */
async function shrunk(file) {
  const bitmap = await createImageBitmap(file, { resizeWidth: SIDE, resizeQuality: "medium" });
  const { width, height } = bitmap;
  const scale = Math.min(1, (2 * SIDE) / height);
  const canvas = new OffscreenCanvas(Math.max(1, width * scale), Math.max(1, height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.8 });
  return { url: URL.createObjectURL(blob), width, height };
}
