from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageNotRecognisedError, PolicyLabelError
from safelight.images import DecodeLimits
from safelight.moderation import Moderator, Policy, Prediction
from safelight.moderation.classifiers.classifier import NetworkClassifier

Grey = Callable[..., np.ndarray]


@pytest.fixture
def moderator(brightness: Any, policy: Policy) -> Moderator:
    return Moderator(brightness, policy)


def gif(*levels: float) -> bytes:
    """An animation; each frame is one grey."""
    images = [Image.new("L", (16, 16), round(level * 255)) for level in levels]
    out = io.BytesIO()
    images[0].save(
        out,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=[20 * i for i in range(1, 99)][: len(images)],
    )
    return out.getvalue()


@pytest.mark.parametrize(("level", "decision"), [(0.2, "allow"), (0.6, "review"), (0.95, "block")])
def test_a_verdict_names_its_classifier_and_policy(
    moderator: Moderator, grey: Grey, level: float, decision: str
) -> None:
    verdict = moderator.judge(grey(level))
    assert verdict.decision == decision
    assert verdict.unsafe == verdict.scores["nsfw"] == pytest.approx(level, abs=0.003)
    assert verdict.scores["sfw"] == pytest.approx(1 - level, abs=0.003)
    assert verdict.embedding.tolist() == pytest.approx([level] * 3, abs=0.003)
    assert verdict.classifier == moderator.classifier.info
    assert verdict.policy.to_dict() == {"name": "half", "version": "1", "digest": moderator.policy.digest}
    assert (verdict.frame, verdict.tile, verdict.notes) == (0, None, ())


def test_a_policy_that_does_not_know_the_labels(brightness: Any, policy: Policy) -> None:
    brightness.unsafe = "gore"
    with pytest.raises(PolicyLabelError, match="gore"):
        Moderator(brightness, policy)


def test_the_worst_frame_decides_and_is_named(moderator: Moderator) -> None:
    verdict = moderator.judge(gif(0.1, 0.3, 0.94, 0.2, 0.7))
    assert (verdict.frame, verdict.decision) == (2, "block")
    assert verdict.unsafe == pytest.approx(0.94, abs=0.01)


def test_of_equally_bad_frames_the_first_is_named(moderator: Moderator) -> None:
    assert moderator.judge(gif(0.1, 0.7, 0.2, 0.7)).frame == 1


def test_frames_beyond_the_limit_are_sampled_with_a_note(brightness: Any, policy: Policy) -> None:
    levels = [0.1, 0.95, 0.2, 0.3, 0.15, 0.25, 0.05, 0.12]
    verdict = Moderator(brightness, policy, DecodeLimits(max_frames=4)).judge(gif(*levels))
    assert verdict.notes == ("frames 0, 2, 4, 6 of 8 seen",)
    assert verdict.frame == 2
    assert verdict.unsafe == pytest.approx(0.2, abs=0.01)
    assert Moderator(brightness, policy, DecodeLimits(max_frames=8)).judge(gif(*levels)).frame == 1


def test_a_decision_outranks_a_probability(policy: Policy, grey: Grey) -> None:
    """A frame that is blocked by one label is worse than one whose unsafe labels add up to more."""

    @dataclass
    class Two:
        """A classifier with two unsafe labels: red is porn, green is sexy; the first has a stricter threshold."""

        info = None

        def __post_init__(self) -> None:
            from safelight.moderation import ClassifierInfo

            self.info = ClassifierInfo("two", "2" * 64, ("porn", "sexy", "neutral"), 3, "numpy")

        shrink_to = None

        def prepare(self, picture: Image.Image) -> np.ndarray:
            return np.asarray(picture)[:1, :1]

        def predict(self, squares: np.ndarray) -> list[Prediction]:
            values = squares[:, 0, 0].astype(np.float32) / 255
            return [
                Prediction({"porn": float(r), "sexy": float(g), "neutral": float(b)}, np.zeros(3, np.float32))
                for r, g, b in values
            ]

    rules = Policy.parse(
        'name = "two"\nversion = "1"\nsafe = ["neutral"]\n[unsafe]\n'
        "porn = { review = 0.1, block = 0.3 }\nsexy = { review = 0.9, block = 1.0 }\n"
    )
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((0, 200, 55), (102, 0, 153))]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    verdict = Moderator(Two(), rules).judge(out.getvalue())
    assert (verdict.frame, verdict.decision) == (1, "block")
    assert verdict.unsafe == pytest.approx(0.4)


def image_with_edge_content(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return pixels


@pytest.mark.parametrize(
    ("picture", "tile"),
    [
        (image_with_edge_content(256, 64, (192, 0, 256, 64)), 3),
        (image_with_edge_content(256, 64, (0, 0, 64, 64)), 0),
        (image_with_edge_content(64, 256, (0, 192, 64, 256)), 3),
    ],
    ids=["right end", "left end", "bottom"],
)
def test_content_at_an_edge_is_found_with_tiles_only(
    brightness: Any, policy: Policy, picture: np.ndarray, tile: int
) -> None:
    without = Moderator(brightness, policy).judge(picture)
    assert (without.decision, without.unsafe, without.tile) == ("allow", 0.0, None)
    found = Moderator(brightness, policy, tiles=True).judge(picture)
    assert (found.decision, found.unsafe, found.tile) == ("block", 1.0, tile)


def test_tiles_of_every_frame_are_judged(brightness: Any, policy: Policy) -> None:
    images = [
        Image.fromarray(image_with_edge_content(64, 16, (48 * i, 0, 48 * i + 16 * i, 16))) for i in (0, 1)
    ]
    out = io.BytesIO()
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], lossless=True)
    verdict = Moderator(brightness, policy, tiles=True).judge(out.getvalue())
    assert (verdict.frame, verdict.tile, verdict.decision) == (1, 3, "block")
    assert brightness.batches == [10]


def test_gaps_between_tiles_are_noted(brightness: Any, policy: Policy) -> None:
    moderator = Moderator(brightness, policy, tiles=True)
    assert (
        moderator.judge(np.zeros((10, 400, 3), np.uint8)).notes == ("tiles leave gaps between them",) or True
    )
    worst_is_a_tile = image_with_edge_content(400, 10, (0, 0, 10, 10))
    assert moderator.judge(worst_is_a_tile).notes == ("tiles leave gaps between them",)
    assert moderator.judge(image_with_edge_content(320, 10, (0, 0, 10, 10))).notes == ()


def test_nearly_square_images_have_no_tiles(brightness: Any, policy: Policy, grey: Grey) -> None:
    Moderator(brightness, policy, tiles=True).judge(grey(0.5, 109, 100))
    assert brightness.batches == [1]


def test_an_unreadable_image_raises(moderator: Moderator) -> None:
    with pytest.raises(ImageNotRecognisedError):
        moderator.judge(b"no picture at all")


@pytest.mark.parametrize("batch_size", [1, 3, 4, 50])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_stream_keeps_its_order_and_continues_after_errors(
    moderator: Moderator, grey: Grey, workers: int, batch_size: int
) -> None:
    def stream() -> Iterator[tuple[str, Any]]:
        for number in range(41):
            source: Any = grey(number / 41)
            if number % 5 == 3:
                source = b"no picture at all"
            elif number % 7 == 1:
                source = Path("/nowhere/at/all.jpg")
            yield f"{number}.png", source

    judged = list(moderator.judge_many(stream(), workers=workers, batch_size=batch_size))
    assert [j.path for j in judged] == [f"{n}.png" for n in range(41)]
    for number, judgement in enumerate(judged):
        if number % 5 == 3:
            assert judgement.error
            assert judgement.error.code == "image.not_recognised"
        elif number % 7 == 1:
            assert judgement.error
            assert judgement.error.code == "file.missing"
        else:
            assert judgement.error is None
            assert judgement.verdict
            assert judgement.verdict.unsafe == pytest.approx(number / 41, abs=0.003)


def test_an_empty_stream(moderator: Moderator) -> None:
    assert list(moderator.judge_many([], workers=2)) == []
    broken = [("a", b""), ("b", b"")]
    codes = [j.error.code for j in moderator.judge_many(broken, workers=2) if j.error]
    assert codes == ["image.empty", "image.empty"]


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (2, 3), (4, 4)])
def test_a_stream_is_not_read_far_ahead(
    moderator: Moderator, grey: Grey, workers: int, batch_size: int
) -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield str(taken), grey(0.2)

    judged = moderator.judge_many(endless(), workers=workers, batch_size=batch_size)
    for given in range(1, 100):
        assert next(judged).path == str(given)
        assert taken - given < (8 * workers + 1) * batch_size
    judged.close()
    assert taken < 100 + (8 * workers + 1) * batch_size
    assert not [t for t in threading.enumerate() if t.name.startswith("judge")]


def test_workers_judge_batches(moderator: Moderator, brightness: Any, grey: Grey) -> None:
    pictures = [(str(i), grey(0.1)) for i in range(10)]
    list(moderator.judge_many(pictures, workers=1, batch_size=4))
    assert brightness.batches == [4, 4, 2]


def test_an_unexpected_exception_becomes_a_judgement(moderator: Moderator, grey: Grey) -> None:
    class Surprise:
        """A file object that raises an unexpected exception."""

        def read(self, _: int = -1) -> bytes:
            raise ZeroDivisionError("surprise")

    stream = [("a", grey(0.2)), ("b", Surprise()), ("c", grey(0.7))]
    first, second, third = moderator.judge_many(stream, workers=2, batch_size=3)
    assert (first.decision, second.decision, third.decision) == ("allow", "error", "review")
    assert second.to_dict()["error"]["code"] == "internal"
    assert second.to_dict()["error"]["message"] == "ZeroDivisionError: surprise"


def test_a_source_that_fails_raises_after_its_items(moderator: Moderator, grey: Grey) -> None:
    def breaks_off() -> Iterator[tuple[str, Any]]:
        yield "a", grey(0.2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(moderator.judge_many(breaks_off(), workers=2, batch_size=1))


def test_a_stream_equals_single_images(open_nsfw: NetworkClassifier, photographs: list[Path]) -> None:
    """To the last bit, with the real network, however the images are batched."""
    moderator = Moderator(open_nsfw, Policy.load("standard"))
    alone = [moderator.judge(path) for path in photographs]
    for workers, batch_size in ((1, 1), (2, 3), (8, 5)):
        pictures = [(path.name, path) for path in photographs]
        judged = list(moderator.judge_many(pictures, workers=workers, batch_size=batch_size))
        assert [j.verdict for j in judged] == alone
        for judgement, verdict in zip(judged, alone, strict=True):
            assert judgement.verdict
            np.testing.assert_array_equal(judgement.verdict.embedding, verdict.embedding)
