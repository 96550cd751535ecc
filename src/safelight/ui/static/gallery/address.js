// The gallery's search, filters and order in the address: a filter can be undone by Back, and a link finds the same pictures.

import { currentRoute, onRoute, setRoute } from "../core/router.js";

/** @typedef {Partial<import("./filters.js").Values>} Query */

const TAB = "gallery";

/**
 * Let the address follow the gallery, and the gallery the address.
 * @param {{query: Query, onquery: () => void}} gallery  onquery is set
 */
export function followGalleryAddress(gallery) {
  let shown = textOf(gallery.query);
  onRoute(({ tab, query }) => {
    const asked = fromAddress(query);
    if (tab !== TAB || textOf(asked) === shown) return;
    shown = textOf(asked); // first, so that the change is not recorded again
    gallery.query = asked;
  });
  gallery.onquery = () => {
    const { query } = gallery;
    if (textOf(query) === shown) return;
    shown = textOf(query);
    const before = fromAddress(currentRoute().query);
    const typing = textOf({ ...before, query: "" }) === textOf({ ...query, query: "" });
    setRoute(TAB, { query: toAddress(query) }, { push: !typing }); // Back does not return to each letter
  };
}

/** @param {Query} query @returns {Record<string, string>} */
function toAddress({ query, favourite, ...rest }) {
  return { ...(query ? { q: query } : {}), ...(favourite ? { favourite: "1" } : {}), ...rest };
}

/** @param {Record<string, string>} given @returns {Query} */
function fromAddress({ q, favourite, ...rest }) {
  return { ...rest, ...(q ? { query: q } : {}), ...(favourite === "1" ? { favourite: true } : {}) };
}

/** The same text for the same query. @param {Query} query */
const textOf = (query) => JSON.stringify(Object.entries(query).filter(([, value]) => value).sort());
