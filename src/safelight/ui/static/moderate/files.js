// Files as they come: from a folder, a drop or the clipboard.

const PICTURE = /\.(jpe?g|jpe|jfif|a?png|webp|gif|bmp|dib|tiff?|avif|hei[cf])$/i;

/** @typedef {{name: string, file: File}} Named  with its path within the folder, where it came in one */

/** Whether a file of a folder is worth judging; what is given by itself always is. @param {File} file */
const isPicture = (file) => file.type.startsWith("image/") || PICTURE.test(file.name);

/**
 * The files of an input element.
 * @param {HTMLInputElement} input
 * @returns {{files: Named[], skipped: number}}  skipped: files of a folder that are no pictures
 */
export function chosen(input) {
  const all = [...(input.files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  const files = input.webkitdirectory ? all.filter(({ file }) => isPicture(file)) : all;
  return { files, skipped: all.length - files.length };
}

/**
 * Everything in a drop or on the clipboard, folders to the bottom.
 * @param {DataTransfer} data
 * @returns {Promise<{files: Named[], skipped: number}>}
 */
export async function dropped(data) {
  // What is in a drop has to be asked for before the first await: after it the browser has emptied it.
  const given = [...data.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const found = { files: /** @type {Named[]} */ ([]), skipped: 0 };
  for (const each of given) {
    if (each instanceof File) found.files.push({ name: each.name, file: each });
    else if (each?.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (each), found);
    else if (each) found.files.push({ name: each.name, file: await opened(/** @type {FileSystemFileEntry} */ (each)) });
  }
  return found;
}

/** @param {FileSystemDirectoryEntry} folder @param {{files: Named[], skipped: number}} found */
async function walk(folder, found) {
  for (const entry of await listed(folder)) {
    if (entry.isDirectory) {
      await walk(/** @type {FileSystemDirectoryEntry} */ (entry), found);
      continue;
    }
    const file = await opened(/** @type {FileSystemFileEntry} */ (entry));
    if (isPicture(file)) found.files.push({ name: entry.fullPath.replace(/^\//, ""), file });
    else found.skipped += 1;
  }
}

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<FileSystemEntry[]>} */
async function listed(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) return all.sort((one, other) => (one.name < other.name ? -1 : 1));
    all.push(...some);
  }
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
const opened = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
