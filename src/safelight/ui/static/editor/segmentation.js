// The server's segmentation model, if it has one.

import { get, readBlob, request } from "../core/api.js";

export const OBJECT_MASK = "object_mask"; // the preprocessor that computes the masks

/** Offer the tool that uses it in an editor; without a model, or where it cannot be asked for, there is none. @param {import("../editor.js").Editor} editor */
export async function offerSegmentation(editor) {
  const { preprocessors } = await get("/v1/preprocessors").catch(() => ({ preprocessors: [] }));
  if (preprocessors.some((/** @type {{name: string, available: boolean}} */ { name, available }) => name === OBJECT_MASK && available)) editor.offerSegmentation(segment);
}

/** @type {import("./segment.js").Segmentation} */
async function segment(picture, points, signal) {
  const body = new FormData();
  body.append("image", picture, "picture");
  body.append("request", JSON.stringify({ points }));
  return readBlob(await request("POST", "/v1/segment", { body, signal }));
}
