"""How far decoding large JPEGs at reduced scale moves open-nsfw's score, against decoding them in full.

Same network, same fp32 arithmetic; only the decoder's scale differs. Needs `make bench-photos`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from safelight.images import decode
from safelight.moderation import load_classifier
from safelight.settings import Settings

HERE = Path(__file__).parent


def main() -> None:
    """Compare every original photograph that is large enough to be scaled."""
    classifier = load_classifier(Settings.load(exact=True), "open-nsfw")
    side = classifier.preprocessing.resized
    full, scaled = [], []
    for path in sorted((HERE / "photos").glob("*/*.jpg")):
        small = decode(path, shrink_to=side)
        if min(small.size) == min(small.pixels.shape[:2]):
            continue  # not large enough
        whole = decode(path)
        squares = np.stack([classifier.prepare(frame.pixels) for frame in (whole, small)])
        one, other = (prediction.scores["nsfw"] for prediction in classifier.predict(squares))
        full.append(one)
        scaled.append(other)
    shift = np.abs(np.array(full) - np.array(scaled))
    result = {
        "pictures": len(shift),
        "largest_shift": float(shift.max()),
        "mean_shift": float(shift.mean()),
        "highest_score": float(max(full)),
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "decode_shift.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
