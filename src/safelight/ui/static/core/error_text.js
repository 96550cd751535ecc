// What an error says in the page's language: by its code, with the values of its context.

import { formatBytes, formatChoice, formatNumber, hasText, t, textOf } from "./text.js";

/** @typedef {import("../types").ErrorBody} ErrorBody */

const BYTES = new Set(["needed", "usable"]); // names of values that are sizes in bytes

/**
 * An error as a text; one whose code has none, as the server says it.
 * @param {Pick<ErrorBody, "code" | "message" | "context">} error
 */
export function errorText({ code, message, context }) {
  const values = { ...Object.fromEntries(Object.entries(context ?? {}).map(([name, value]) => [name, shown(name, value)])), message };
  const key = keysFor(code, context ?? {}).find((each) => hasText(each) && placeholdersOf(textOf(each)).every((name) => name in values));
  return key ? t(key, values) : message;
}

/** Whether an error's text is the server's, so that the server's hint belongs to it. @param {Pick<ErrorBody, "code" | "message" | "context">} error */
export const isServersText = (error) => errorText(error) === error.message;

/** An error as a text, with the hint where the server's own text is shown. @param {Pick<ErrorBody, "code" | "message" | "context" | "hint">} error */
export const errorWithHint = (error) => [errorText(error), isServersText(error) && error.hint].filter(Boolean).join(" ");

/** Keys of an error's text, the more special first. @param {string} code @param {Record<string, unknown>} context */
const keysFor = (code, context) => [
  ...Object.entries(context).flatMap(([name, value]) => [...(typeof value === "string" ? [`error.${code}.${value}`] : []), `error.${code}.${name}`]),
  `error.${code}`,
];

/** @param {string} text */
const placeholdersOf = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);

/** A value as it is shown. @param {string} name @param {unknown} value */
function shown(name, value) {
  if (name === "other" && hasText(`create.${value}`)) return t(`create.${value}`);
  if (Array.isArray(value)) return formatChoice(value.map((each) => (typeof each === "number" ? formatNumber(each) : String(each))));
  if (typeof value === "number") return BYTES.has(name) ? formatBytes(value) : formatNumber(value);
  return String(value);
}
