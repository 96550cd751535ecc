// The address of what the page shows, in the URL's fragment: #/gallery?q=cat, #/gallery/ID, #/create/JOB/0. Back, Forward and links show it again.

/**
 * @typedef {object} Route
 * @property {string} tab
 * @property {string[]} path  what the tab shows, such as a job and the index of its picture
 * @property {Record<string, string>} query  its search and filters
 * @property {string | null} picture  id of the gallery entry that the viewer shows
 */

const FIRST_TAB = "create";
const PICTURE_TAB = "gallery"; // the tab whose path is the viewer's picture; at the others it is in the query

/** @type {Set<(route: Route) => void>} */
const listeners = new Set();
/** The last route of each tab, without the viewer. @type {Map<string, Route>} */
const lastRoutes = new Map();
/** Changes that wait for the browser to have gone back. @type {(() => void)[] | null} */
let waiting = null;

addEventListener("popstate", () => {
  const changes = waiting ?? [];
  waiting = null;
  changes.forEach((change) => change());
});
addEventListener("hashchange", () => {
  const route = currentRoute();
  lastRoutes.set(route.tab, { ...route, picture: null });
  for (const listener of listeners) listener(route);
});

/** The route of the address. @returns {Route} */
export function currentRoute() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [tab, ...rest] = path.split("/").filter(Boolean).map(decode);
  const { picture = null, ...query } = Object.fromEntries(new URLSearchParams(search));
  if (tab === PICTURE_TAB) return { tab, path: [], query, picture: rest[0] ?? picture };
  return { tab: tab ?? FIRST_TAB, path: rest, query, picture };
}

/** The address of a route. @param {Partial<Route> & {tab: string}} route */
export function addressOf({ tab, path = [], query = {}, picture = null }) {
  const [rest, search] = tab === PICTURE_TAB ? [picture ? [picture] : [], query] : [path, picture ? { ...query, picture } : query];
  const text = new URLSearchParams(search).toString();
  return `#/${[tab, ...rest].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {(route: Route) => void} listener  called now, and whenever the address has changed by other means than this module's functions */
export function onRoute(listener) {
  listeners.add(listener);
  listener(currentRoute());
}

/** A tab is shown: its address is that of what it showed last. @param {string} tab */
export function navigate(tab) {
  change((route) => route.tab !== tab && write({ ...(lastRoutes.get(tab) ?? { tab }), tab }, true));
}

/**
 * A tab shows something else; if another tab is shown, its address will be right once it is shown.
 * @param {string} tab
 * @param {{path?: string[], query?: Record<string, string>}} content
 * @param {{push?: boolean}} [options]  push: Back returns to what was shown before
 */
export function setRoute(tab, content, { push = false } = {}) {
  change((route) => {
    const next = { tab, path: content.path ?? [], query: content.query ?? {}, picture: route.picture };
    lastRoutes.set(tab, { ...next, picture: null });
    if (route.tab === tab && addressOf(route) !== addressOf(next)) write(next, push);
  });
}

/** The viewer shows a picture: Back closes it. @param {string} id */
export function openPicture(id) {
  change((route) => route.picture !== id && write({ ...route, picture: id }, route.picture === null));
}

/** The viewer is closed. */
export function closePicture() {
  change((route) => {
    if (route.picture === null) return;
    if (!history.state?.pushed) return write({ ...route, picture: null }, false);
    waiting = [() => write(lastRoutes.get(route.tab) ?? { ...route, picture: null }, false)]; // a tab may show something else by now
    history.back();
  });
}

/** Apply a change, now or once the browser has gone back. @param {(route: Route) => unknown} apply */
function change(apply) {
  const run = () => void apply(currentRoute());
  if (waiting) waiting.push(() => change(apply));
  else run();
}

/** @param {Partial<Route> & {tab: string}} route @param {boolean} push */
function write(route, push) {
  const address = addressOf(route);
  if (push) history.pushState({ pushed: true }, "", address);
  else if (address !== location.hash) history.replaceState(history.state, "", address);
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
