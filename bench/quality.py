"""What quality levels and each of their parts cost in pictures, and what they save in seconds.

    python bench/quality.py starter [--steps N] [--captions N] [--backend NAME] [NAME ...]
    python bench/quality.py sd1 [--steps N] [--side N] [--captions N] [NAME ...]     random weights of SD 1.5's size

A row has the seconds as a share of the level exact's (the median of pictures, each variant in turn, so that what else
the machine does concerns all), PSNR against exact (mean and least), and for the starter the judge's scores of one
picture for each caption. --backend is eager, or one whose forms are compiled before; exact is eager either way. With
random weights a PSNR says nothing about pictures and is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from random_checkpoint import write_random
from safelight import Settings
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.studio.quantization import psnr
from safelight.studio.starter_judge import StarterJudge

VARIANTS: dict[str, dict[str, Any]] = {
    "exact": {"quality": "exact"},
    "balanced": {"quality": "balanced"},
    "fast": {"quality": "fast"},
    "few-steps": {"quality": "fast", "steps": None, "guidance_scale": None},
    "bf16": {"precision": "bf16"},
    "bf16-denoiser": {"precision": "bf16", "text_encoder_precision": "fp32", "vae_precision": "fp32"},
    "fast-bf16": {"quality": "fast", "precision": "bf16"},
    "deep-2": {"step_cache": "deep", "step_cache_interval": 2},
    "deep-3": {"step_cache": "deep", "step_cache_interval": 3},
    "deep-4": {"step_cache": "deep", "step_cache_interval": 4},
    "deep-5": {"step_cache": "deep", "step_cache_interval": 5},
    "extrapolate-2": {"step_cache": "extrapolate", "step_cache_interval": 2},
    "extrapolate-3": {"step_cache": "extrapolate", "step_cache_interval": 3},
    "guidance-to-0.8": {"guidance_end": 0.8},
    "guidance-to-0.6": {"guidance_end": 0.6},
    "guidance-from-0.2": {"guidance_start": 0.2},
    "merging-0.25": {"token_merging": 0.25},
    "merging-0.5": {"token_merging": 0.5},
}
"""Fields of a request; those that end with precision are settings. few-steps is the level fast with steps and guidance
left open, which the starter's few-step LoRA decides then."""


def measure(
    checkpoint: str, home: Path, prompts: list[str], fields: dict[str, Any], names: list[str], backend: str
) -> None:
    """Generate a picture of each prompt with each variant and print the table."""
    judge = StarterJudge() if checkpoint == "starter" else None
    engines: dict[str, Engine] = {}
    compiled: set[str] = set()
    seconds, pictures = defaultdict(list), defaultdict(list)
    for seed, prompt in enumerate([prompts[0], *prompts]):  # the first one loads
        for name in names if seed % 2 else names[::-1]:
            variant = dict(VARIANTS[name])
            precisions = {key: variant.pop(key) for key in list(variant) if key.endswith("precision")}
            settings = Settings(
                home=home,
                device="cpu",
                generation_backend="eager" if name == "exact" else backend,
                generation_precision=precisions.pop("precision", "fp32"),
                **precisions,
            )
            key = settings.model_dump_json()
            if key not in engines:
                engines[key] = Engine(settings)
            engine = engines[key]
            request = GenerationRequest.parse(
                prompt=prompt, seed=seed, checkpoint=checkpoint, **(fields | variant)
            )
            if settings.generation_backend != "eager" and name not in compiled:
                for wanted in engine.wanted_forms(request):
                    engine.forms.make(wanted)
                compiled.add(name)
            (artifact,) = engine.generate(request, unbatched=True)
            if seed:
                seconds[name].append(artifact.seconds)
                pictures[name].append(np.asarray(artifact.image))
    print("variant            seconds  share  PSNR mean  least  right thing  and style")
    for name in names:
        median = statistics.median(seconds[name])
        share = median / statistics.median(seconds["exact"])
        line = f"{name:18} {median:7.3f}  {share:5.2f}"
        if judge is not None:
            found = [psnr(*pair) for pair in zip(pictures["exact"], pictures[name], strict=True)]
            line += f"  {statistics.mean(found):9.1f}  {min(found):5.1f}"
            if len(prompts) == len(judge.captions):
                score = judge.score(np.stack(pictures[name]))
                line += f"  {score.right_thing:11.1%}  {score.right_thing_and_style:9.1%}"
        print(line, flush=True)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("starter", "sd1"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--captions", type=int, default=32)
    parser.add_argument("--backend", default="eager")
    given = parser.parse_intermixed_args()
    names = ["exact", *(name for name in given.names or VARIANTS if name != "exact")]
    fields: dict[str, Any] = {"steps": given.steps, "guidance_scale": 4.0}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if given.what == "starter":
            measure("starter", home, StarterJudge().captions[: given.captions], fields, names, given.backend)
        else:
            checkpoint = write_random(home / "random")
            size = {"width": given.side, "height": given.side}
            prompts = ["a red apple"] * min(3, given.captions)
            measure(str(checkpoint), home, prompts, fields | size, names, given.backend)


if __name__ == "__main__":
    main()
