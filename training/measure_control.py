"""Measure the starter's ControlNet: how well the edges of what it draws agree with those that were asked for.

    python measure_control.py --sheet control.png     some minutes

The shapes are those that training leaves out. Each is drawn with and without the control, from the same caption and
seed, as anybody draws with Safelight.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from control import HELD_OUT, Canny, Shape, draw_shape, split_rows
from pictures import SIZE, WORK
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.settings import Settings
from scenes import Pictures

NEAR, COLUMNS, TOGETHER = 2, 10, 8
"""How far an edge may be off, in pixels; columns of the sheet; pictures that are computed as one."""


def edge_agreement(drawn: np.ndarray, wanted: np.ndarray) -> float:
    """F1 of edges, (h, w) bool, against those that were asked for, within two pixels."""
    if not drawn.any() or not wanted.any():
        return 0.0
    precision = (distance_transform_edt(~wanted)[drawn] <= NEAR).mean()
    recall = (distance_transform_edt(~drawn)[wanted] <= NEAR).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def draw(
    engine: Engine, shape: Shape, text: str, seed: int, steps: int | None, model: str | None, weight: float
) -> np.ndarray:
    """A picture of a caption, steered by the edges of a shape: (128, 128, 3) uint8."""
    control = {
        "kind": "canny",
        "model": model,
        "image": Image.fromarray(shape.pixels),
        "preprocessor": {"name": "canny"},
        "weight": weight,
    }
    request = GenerationRequest.parse(prompt=text, seed=seed, steps=steps, control=[control])
    (artifact,) = engine.generate(request)
    return np.asarray(artifact.image)


def main() -> None:
    """Print the agreement with and without the control, and draw a sheet of the first shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=HELD_OUT)
    parser.add_argument("--steps", type=int, help="The starter's own number if not given.")
    parser.add_argument("--model", help="A folder; the packaged ControlNet if not given.")
    parser.add_argument(
        "--sheet", type=Path, help="Where to write a sheet (PNG): shapes, edges, without, with."
    )
    chosen = parser.parse_args()
    pictures, canny, random = Pictures.load(WORK), Canny(), np.random.default_rng(23)
    rows = split_rows(pictures)[1][: chosen.count]
    shapes = [draw_shape(pictures, int(row), random) for row in rows]
    wanted = [canny(shape.pixels) for shape in shapes]
    scores: dict[str, list[float]] = {"without": [], "with": []}
    lines = [
        [shape.pixels for shape in shapes],
        [np.repeat(edges[..., None], 3, -1) * np.uint8(255) for edges in wanted],
        [],
        [],
    ]
    with tempfile.TemporaryDirectory() as home:
        engine = Engine(
            Settings(
                home=Path(home),
                device="cpu",
                checkpoint="starter",
                generation_backend="eager",
                max_batch_size=TOGETHER,
            )
        )
        for found, weight, line in zip(scores.values(), (0.0, 1.0), lines[2:], strict=True):

            def draw_one(seed: int, weight: float = weight) -> np.ndarray:
                shape = shapes[seed]
                text = shape.plain_caption(pictures)
                return draw(engine, shape, text, seed, chosen.steps, chosen.model, weight)

            with ThreadPoolExecutor(TOGETHER) as pool:
                line.extend(pool.map(draw_one, range(len(shapes))))
            found.extend(
                edge_agreement(canny(drawn), edges) for drawn, edges in zip(line, wanted, strict=True)
            )
    means = {name: float(np.mean(found)) for name, found in scores.items()}
    worst = {f"{name}, lowest tenth": float(np.quantile(found, 0.1)) for name, found in scores.items()}
    print(json.dumps(means | worst | {"ratio": means["with"] / means["without"]}, indent=1))
    if chosen.sheet:
        canvas = Image.new("RGB", (COLUMNS * (SIZE + 4) + 4, len(lines) * (SIZE + 4) + 4), (225, 225, 228))
        for down, line in enumerate(lines):
            for across, picture in enumerate(line[:COLUMNS]):
                place = across * (SIZE + 4) + 4, down * (SIZE + 4) + 4
                canvas.paste(Image.fromarray(picture), place)
        canvas.save(chosen.sheet)


if __name__ == "__main__":
    main()
