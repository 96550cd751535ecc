// Example prompts for the empty stage, by what the checkpoint understands.

/** The starter knows single things in five styles. */
const STARTER = ["a red apple, 3d style", "a cat face, cartoon style", "a blue butterfly, sticker style"];
/** Checkpoints with CLIP text encoders follow lists of words. */
const WORDS = ["portrait of an old fisherman, natural light, film grain", "a lighthouse in a storm, oil painting, dramatic clouds", "isometric tiny greenhouse, soft light, detailed"];
/** Flow models follow sentences. */
const SENTENCES = [
  "A photograph of an old fisherman mending a net at dawn, his boat behind him in the mist.",
  "A lighthouse on a cliff in a storm, painted in thick strokes of oil, waves breaking below it.",
  "A small greenhouse seen from above at an angle, full of plants, with warm light inside and snow around it.",
];

/** Three prompts for a checkpoint. @param {import("../types").Model | undefined} checkpoint */
export function examplePrompts(checkpoint) {
  if (checkpoint?.id === "starter") return STARTER;
  return checkpoint?.draws?.kind === "flow" ? SENTENCES : WORDS;
}
