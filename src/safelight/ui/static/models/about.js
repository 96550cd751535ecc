// What a model is and what it is good for, in one sentence.

import { hasText, t } from "../core/text.js";

const FEW_STEPS = 10; // default steps up to which a checkpoint is one that was distilled

/** @param {import("../types").Model} model */
export function about(model) {
  if (model.kind === "checkpoint") return aboutCheckpoint(model);
  const key = `models.about.${model.kind}.${model.id}`;
  return t(hasText(key) ? key : `models.about.${model.kind}`);
}

/** @param {import("../types").Model} model */
function aboutCheckpoint({ id, family, modes, draws }) {
  if (id === "starter") return t("models.about.starter");
  const key = `models.about.${family}`;
  const extra = modes.length === 1 && modes[0] === "inpainting" ? t("models.about.inpainting") : draws && draws.steps <= FEW_STEPS ? t("models.about.few_steps", { steps: draws.steps }) : "";
  return [t(hasText(key) ? key : "models.about.other"), extra].filter(Boolean).join(" ");
}
