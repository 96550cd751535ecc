// The browser's database: one request in a transaction of its own.

/**
 * Run a request; a database or store that does not exist is made.
 * @param {string} name  of the database
 * @param {string} store  its only one
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest | void} run
 * @returns {Promise<any>}  the request's result; fails in a private window without a database
 */
export async function transact(name, store, mode, run) {
  const database = await open(name, store);
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(store, mode);
      const request = run(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** @param {string} name @param {string} store @returns {Promise<IDBDatabase>} */
const open = (name, store) =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
