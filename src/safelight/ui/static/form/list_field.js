// Items of the request's lists, by the names that the server has for their fields: control.0.model, references[1].image, regions.

/** @typedef {typeof LISTS[number]} ListName */
/** @typedef {{list: ListName, index: number | null, name: string}} ListField  index: null for the list itself; name: of the field within the item, or empty */

export const LISTS = /** @type {const} */ (["control", "references", "regions"]);
const FIELD = /^(control|references|regions)(?:\.(\d+)|\[(\d+)\])?(?:\.(.+))?$/;

/** Which item a field is about. @param {string} field @returns {ListField | null}  null: about none */
export function listField(field) {
  const [, list, dotted, bracketed, name = ""] = FIELD.exec(field) ?? [];
  const index = dotted ?? bracketed;
  return list ? { list: /** @type {ListName} */ (list), index: index === undefined ? null : Number(index), name } : null;
}
