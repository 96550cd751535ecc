// Files from a folder, a drop or the clipboard.

const PICTURE_NAME = /\.(jpe?g|jpe|jfif|a?png|webp|gif|bmp|dib|tiff?|avif|hei[cf])$/i;

/** @typedef {{name: string, file: File}} NamedFile  name: with its path in the folder, if there is one */

/** Whether a file in a folder is a picture; files that the user chose one by one are always judged. @param {File} file */
const isPicture = (file) => file.type.startsWith("image/") || PICTURE_NAME.test(file.name);

/**
 * The files of an input element.
 * @param {HTMLInputElement} input
 * @returns {{files: NamedFile[], skipped: number}}  skipped: number of files in a folder that are not pictures
 */
export function filesFromInput(input) {
  const all = [...(input.files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  const files = input.webkitdirectory ? all.filter(({ file }) => isPicture(file)) : all;
  return { files, skipped: all.length - files.length };
}

/**
 * All files in a drop or on the clipboard, including nested folders.
 * @param {DataTransfer} data
 * @returns {Promise<{files: NamedFile[], skipped: number}>}
 */
export async function filesFromTransfer(data) {
  // The entries must be read before the first await: afterwards the browser has cleared the DataTransfer.
  const entries = [...data.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const result = { files: /** @type {NamedFile[]} */ ([]), skipped: 0 };
  for (const each of entries) {
    if (each instanceof File) result.files.push({ name: each.name, file: each });
    else if (each?.isDirectory) await readFolder(/** @type {FileSystemDirectoryEntry} */ (each), result);
    else if (each) result.files.push({ name: each.name, file: await openFile(/** @type {FileSystemFileEntry} */ (each)) });
  }
  return result;
}

/** @param {FileSystemDirectoryEntry} folder @param {{files: NamedFile[], skipped: number}} result */
async function readFolder(folder, result) {
  for (const entry of await listFolder(folder)) {
    if (entry.isDirectory) {
      await readFolder(/** @type {FileSystemDirectoryEntry} */ (entry), result);
      continue;
    }
    const file = await openFile(/** @type {FileSystemFileEntry} */ (entry));
    if (isPicture(file)) result.files.push({ name: entry.fullPath.replace(/^\//, ""), file });
    else result.skipped += 1;
  }
}

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<FileSystemEntry[]>} */
async function listFolder(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // readEntries returns at most 100 entries per call
    if (!batch.length) return all.sort((one, other) => (one.name < other.name ? -1 : 1));
    all.push(...batch);
  }
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
const openFile = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
