"""Measure how reduced-scale decoding of large JPEGs changes open-nsfw's score, beside the classifier's own variation.

Each JPEG of the photographs that is large enough to be scaled is judged by the same network in fp32: decoded in full,
at reduced scale as in `safelight moderate`, and in full with invisible changes (one grey level of noise; saved again
at quality 95). Needs `make bench-photos`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.images import decode
from safelight.moderation import Moderator, Policy, load_classifier
from safelight.settings import Settings

HERE = Path(__file__).parent
Pixels = NDArray[np.uint8]


def main() -> None:
    """Compare, print and save the numbers."""
    classifier = load_classifier(Settings.load(exact=True), "open-nsfw")
    policy = Policy.load("standard")
    full = Moderator(classifier, policy)
    fast = Moderator(replace(classifier, exact=False), policy)
    paths = [path for path in sorted((HERE / "photos").glob("*/*.jpg")) if is_scaled(path, fast)]
    generator = np.random.default_rng(0)
    reference = np.array([full.judge(path).unsafe for path in paths])
    roads = {
        "fast road": np.array([fast.judge(path).unsafe for path in paths]),
        "one grey level of noise": np.array(
            [full.judge(add_noise(path, generator)).unsafe for path in paths]
        ),
        "saved again at quality 95": np.array([full.judge(save_again(path)).unsafe for path in paths]),
    }
    result = {
        "pictures": len(paths),
        "highest_score": float(reference.max()),
        "roads": {name: compare(scores, reference) for name, scores in roads.items()},
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "decode_shift.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def is_scaled(path: Path, moderator: Moderator) -> bool:
    """Whether the moderator decodes the picture at reduced scale."""
    frame = decode(path, shrink_to=moderator.classifier.shrink_to)
    return frame.image.width < frame.size[0]


def add_noise(path: Path, generator: np.random.Generator) -> Pixels:
    """The pixels, each changed by at most one grey level."""
    pixels = decode(path).pixels
    noise = generator.integers(-1, 2, pixels.shape, dtype=np.int16)
    return np.clip(pixels.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def save_again(path: Path) -> bytes:
    """The picture saved again as a JPEG of quality 95."""
    with BytesIO() as buffer:
        decode(path).image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()


def compare(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float]:
    """Differences of the probability, and the root mean square difference of log-odds."""
    shift = np.abs(scores - reference)
    drift = np.log(scores / (1 - scores)) - np.log(reference / (1 - reference))
    return {
        "largest_shift": float(shift.max()),
        "mean_shift": float(shift.mean()),
        "log_odds_rms": float(np.sqrt(np.mean(drift**2))),
    }


if __name__ == "__main__":
    main()
