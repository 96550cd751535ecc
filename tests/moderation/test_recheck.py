"""Images that are not clearly harmless are decoded in full and judged again."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight.moderation import ClassifierInfo, Moderator, Policy, Prediction

POLICY = Policy.parse(
    'name = "t"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.4, block = 0.8 }\n'
)


@dataclass
class Brightness:
    """Scores an image by its mean brightness, and records the sizes of its inputs."""

    shrink_to: int | None = 64
    shown: list[tuple[int, int]] = field(default_factory=list)
    info = ClassifierInfo("brightness", "0" * 64, ("sfw", "nsfw"), 1, "exact")

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        self.shown.append(picture.size)
        return np.asarray(picture.resize((8, 8)))

    def predict(self, squares: NDArray[np.uint8]) -> list[Prediction]:
        means = [float(square.mean()) / 255 for square in squares]
        return [Prediction({"sfw": 1 - mean, "nsfw": mean}, np.zeros(1, np.float32)) for mean in means]


def jpeg(level: int, size: tuple[int, int] = (512, 512)) -> bytes:
    with BytesIO() as buffer:
        Image.new("RGB", size, (level, level, level)).save(buffer, "JPEG")
        return buffer.getvalue()


def test_a_clearly_harmless_image_is_decoded_small_and_once():
    classifier = Brightness()
    verdict = Moderator(classifier, POLICY).judge(jpeg(5))
    assert classifier.shown == [(64, 64)]
    assert verdict.notes == ("decoded at 1/8 scale",)


def test_a_doubtful_picture_is_judged_in_full():
    classifier = Brightness()
    verdict = Moderator(classifier, POLICY).judge(jpeg(120))
    assert classifier.shown == [(64, 64), (512, 512)]
    assert verdict.notes == ()
    assert verdict.unsafe == pytest.approx(120 / 255, abs=0.01)


def test_a_small_image_is_judged_once_however_doubtful():
    classifier = Brightness()
    Moderator(classifier, POLICY).judge(jpeg(120, (100, 100)))
    assert classifier.shown == [(100, 100)]


def test_a_file_object_is_decoded_in_full_at_once_since_it_can_be_read_only_once():
    classifier = Brightness()
    verdict = Moderator(classifier, POLICY).judge(BytesIO(jpeg(120)))
    assert classifier.shown == [(512, 512)]
    assert verdict.unsafe == pytest.approx(120 / 255, abs=0.01)


def test_streams_are_rechecked_too():
    classifier = Brightness()
    pictures = [("dark", jpeg(5)), ("bright", jpeg(120)), ("torn", jpeg(120)[:300])]
    dark, bright, torn = Moderator(classifier, POLICY).judge_many(pictures, workers=1)
    assert dark.verdict
    assert dark.verdict.notes == ("decoded at 1/8 scale",)
    assert bright.verdict
    assert bright.verdict.notes == ()
    assert torn.error
    assert torn.error.code == "image.truncated"


def test_a_policy_with_low_thresholds_rechecks_from_lower_scores_on():
    low = Policy.parse(
        'name = "t"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.03, block = 0.8 }\n'
    )
    classifier = Brightness()
    Moderator(classifier, low).judge(jpeg(7))  # 0.027: below every threshold, but within the error of scaling
    assert classifier.shown == [(64, 64), (512, 512)]
