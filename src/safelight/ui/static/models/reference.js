// What a text that was pasted or dropped names: a model of the hub or of CivitAI; told before the server is asked.

/** @typedef {{kind: "hub" | "civitai", reference: string} | {kind: "other_page" | "nothing"}} Recognized */

const HUB = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[\w.][\w./-]*)?$/;
const CIVITAI = /^civitai:\d{1,12}(@\d{1,12})?$/;
const AIR = /^(urn:)?air:[\w.-]+:[\w.-]+:civitai:\d{1,12}/i;
const TOKENIZER = /^tokenizer:[\w.-]+(@[\w.][\w./-]*)?$/;
const HUB_HOSTS = ["huggingface.co", "hf.co", "www.huggingface.co"];
const CIVITAI_HOSTS = ["civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red"];

/** @param {string} text  not empty @returns {Recognized} */
export function recognize(text) {
  const known = [...HUB_HOSTS, ...CIVITAI_HOSTS].some((host) => text.startsWith(`${host}/`));
  const reference = known ? `https://${text}` : /^\d{1,12}$/.test(text) ? `civitai:${text}` : text;
  if (/^https?:\/\//i.test(reference)) return recognizePage(reference);
  if (CIVITAI.test(reference) || AIR.test(reference)) return { kind: "civitai", reference };
  if (HUB.test(reference) || TOKENIZER.test(reference)) return { kind: "hub", reference };
  return { kind: "nothing" };
}

/** @param {string} reference @returns {Recognized} */
function recognizePage(reference) {
  const { hostname, pathname } = URL.parse(reference) ?? { hostname: "", pathname: "" };
  if (CIVITAI_HOSTS.includes(hostname) && /^\/(models|api\/download\/models)\/\d/.test(pathname)) return { kind: "civitai", reference };
  if (HUB_HOSTS.includes(hostname) && /^\/[\w.-]+\/[\w.-]+/.test(pathname)) return { kind: "hub", reference };
  return { kind: "other_page" };
}

/** What was dropped or pasted as text; of several addresses the first. @param {DataTransfer} data */
export function textOf(data) {
  const address = data.getData("text/uri-list").split(/\r?\n/).find((line) => line && !line.startsWith("#"));
  return (address ?? data.getData("text/plain")).trim();
}
