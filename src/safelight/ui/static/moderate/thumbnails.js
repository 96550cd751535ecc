// Thumbnails of local pictures, two made at a time to limit memory.

const WIDTH = 320; // pixels
const CONCURRENCY = 2;

/** @typedef {{url: string, width: number, height: number}} Thumbnail */

export class Thumbnails {
  /** @type {Map<File, Promise<Thumbnail | null>>} */
  #cache = new Map();
  /** @type {(() => void)[]} */
  #waiting = [];
  #active = 0;

  /**
   * A picture's thumbnail; null if the browser cannot decode it.
   * @param {File} file
   */
  get(file) {
    const thumbnail = this.#cache.get(file) ?? this.#make(file);
    this.#cache.set(file, thumbnail);
    return thumbnail;
  }

  /** Revoke all object URLs. */
  clear() {
    for (const thumbnail of this.#cache.values()) void thumbnail.then((thumbnail) => thumbnail && URL.revokeObjectURL(thumbnail.url));
    this.#cache.clear();
  }

  /** @param {File} file @returns {Promise<Thumbnail | null>} */
  async #make(file) {
    if (this.#active >= CONCURRENCY) await new Promise((resolve) => this.#waiting.push(() => resolve(null)));
    this.#active += 1;
    try {
      return await makeThumbnail(file);
    } catch {
      return null; // a format that only the server can decode, such as HEIC; the card says so
    } finally {
      this.#active -= 1;
      this.#waiting.pop()?.(); // last in, first out: the latest request is for what is visible now
    }
  }
}

/** @param {File} file @returns {Promise<Thumbnail>} */
async function makeThumbnail(file) {
  const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "medium" });
  const { width, height } = bitmap;
  const scale = Math.min(1, (2 * WIDTH) / height);
  const canvas = new OffscreenCanvas(Math.max(1, width * scale), Math.max(1, height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.8 });
  return { url: URL.createObjectURL(blob), width, height };
}
