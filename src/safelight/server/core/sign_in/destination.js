// Where to go after signing in: an address of this server, whatever the one that was asked for says.

const STUDIO = "/studio/";

/**
 * The whole address to go to.
 * @param {string | null} asked  a path of this server, as in ?next=
 * @param {string} origin  of this server
 * @returns {string}  Whole, since a path alone can begin with // and name another server.
 */
export function destination(asked, origin) {
  try {
    const url = new URL(asked?.startsWith("/") ? asked : STUDIO, origin);
    if (url.origin === origin) return url.href;
  } catch {
    // no address at all
  }
  return origin + STUDIO;
}
