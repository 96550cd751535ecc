"""Compare open-nsfw's int8 form with fp32: on photographs and their variants, and on pictures made to score high.

    python measure_int8.py PHOTOGRAPHS...     some minutes; folders of photographs that the quantization did not see

There are no unsafe pictures here. Instead, harmless photographs are changed by at most four grey levels a channel,
along the network's gradient, until fp32 takes some of them for unsafe with near certainty.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from picture_variants import find_photographs, make_variants
from quantize_open_nsfw import MEAN_RGB, Network, run_head
from safelight.moderation.classifiers.open_nsfw import (
    PREPROCESSING,
    QUANTIZED_BELOW,
    build_graph,
    read_quantized_graph,
)
from safelight.runtime.backends import BackendPlan, compile_network
from safelight.runtime.graph import EMBEDDING, PROBABILITIES, OnnxGraph
from safelight.runtime.machine import usable_cores

STEPS, LARGEST_CHANGE = 7, 4
Pixels = NDArray[np.uint8]


def main() -> None:
    """Print a line for each set of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=4000, help="Variants of the photographs")
    arguments = parser.parse_args()
    paths = find_photographs(*arguments.photographs)
    variants = np.stack([PREPROCESSING.apply(each) for each in make_variants(paths, arguments.count, seed=2)])
    compare("variants", variants)
    compare("raised", raise_scores(variants[:24]))


def compare(name: str, pixels: Pixels) -> None:
    """Print how far int8 is from fp32."""
    precise, rough = (
        run(graph, pixels, precision)
        for graph, precision in ((build_graph(), "fp32"), (read_quantized_graph(), "int8"))
    )
    p, q = (outputs[PROBABILITIES][:, 1].astype(np.float64) for outputs in (precise, rough))
    shift, drift = np.abs(p - q), _log_odds(q) - _log_odds(p)
    kept = q < QUANTIZED_BELOW
    cosine = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(precise[EMBEDDING], rough[EMBEDDING], strict=True)
    ]
    print(
        f"{name}: {len(pixels)} pictures; log-odds off by {np.sqrt(np.mean(drift**2)):.3f} (root mean square), "
        f"from {drift.min():.2f} to {drift.max():.2f}; cosine of embeddings from {min(cosine):.3f}\n"
        f"  int8 below {QUANTIZED_BELOW}: {kept.mean():.1%}, probability off by at most "
        f"{shift[kept].max(initial=0):.4f}, at most {p[kept].max(initial=0):.4f} in fp32"
    )
    for lowest in (0.05, 0.1, 0.4, 0.8):
        high = p >= lowest
        print(
            f"  fp32 from {lowest}: {high.sum()} pictures, at least {q[high].min(initial=1):.4f} in int8, "
            f"probability off by at most {shift[high].max(initial=0):.4f}"
        )


def run(graph: OnnxGraph, pixels: Pixels, precision: str) -> dict[str, NDArray[np.float32]]:
    """Run a graph on OpenVINO."""
    return compile_network(graph, BackendPlan("openvino", precision, usable_cores())).run(pixels)


def raise_scores(pixels: Pixels) -> Pixels:
    """Return the pictures after each step along the sign of the gradient of their log-odds."""
    network, original = Network(), torch.from_numpy(pixels).float()
    current, found = original, []
    for _ in range(STEPS):
        gradient = torch.cat([_gradient(network, batch) for batch in current.split(8)])
        current = (current + gradient.sign()).clamp(original - LARGEST_CHANGE, original + LARGEST_CHANGE)
        current = current.clamp(0, 255)
        found.append(current.to(torch.uint8).numpy())
    return np.concatenate(found)


def _gradient(network: Network, pixels: Tensor) -> Tensor:
    pixels = pixels.clone().requires_grad_()
    logits = run_head(network, (pixels - torch.tensor(MEAN_RGB)).flip(-1).permute(0, 3, 1, 2))
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), pixels)
    return gradient


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


if __name__ == "__main__":
    main()
