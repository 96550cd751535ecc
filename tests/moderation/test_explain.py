from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ExplanationUnsupportedError, ImageTooManyPixelsError, OutputError, SafelightError
from safelight.images import DecodeLimits, decode
from safelight.moderation import Moderator, Policy
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.moderation.explain import Explainer, Explanation


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer("open-nsfw")


@pytest.fixture(scope="module")
def explanation(explainer: Explainer, photographs: list[Path]) -> Explanation:
    return explainer.explain(photographs[0])


def write_animation(pictures: list[Image.Image]) -> bytes:
    out = io.BytesIO()
    pictures[0].save(out, "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    return out.getvalue()


def test_contributions_average_to_the_log_odds(
    explainer: Explainer, open_nsfw_exact: NetworkClassifier, photographs: list[Path]
) -> None:
    """The map is exact: it sums to the network's output."""
    moderator = Moderator(open_nsfw_exact, Policy.load("standard"))
    for path in photographs:
        scores = moderator.judge(path).scores
        explanation = explainer.explain(path)
        assert explanation.contributions.shape == (7, 7)
        assert explanation.contributions.dtype == np.float32
        log_odds = math.log(scores["nsfw"]) - math.log(scores["sfw"])
        assert float(explanation.contributions.mean()) == pytest.approx(log_odds, abs=1e-4)
        assert explanation.unsafe == pytest.approx(scores["nsfw"], abs=1e-7)
        assert explanation.contributions.std() > 0.1, "a flat map would explain nothing"


@pytest.mark.parametrize("axis", [0, 1], ids=["bottom", "right"])
def test_the_map_changes_where_the_image_does(
    explainer: Explainer, photographs: list[Path], axis: int
) -> None:
    pixels = decode(photographs[0]).pixels
    changed = pixels.copy()
    changed[(slice(400, None), slice(None)) if axis == 0 else (slice(None), slice(400, None))] = (
        200,
        150,
        120,
    )
    moved = np.abs(explainer.explain(changed).contributions - explainer.explain(pixels).contributions)
    along = moved.mean(axis=1 - axis)
    assert along[5:].mean() > 3 * along[:2].mean()


def test_maps_have_the_originals_size_up_to_a_limit(explainer: Explainer, photographs: list[Path]) -> None:
    for path in photographs:
        explanation = explainer.explain(path)
        assert explanation.heat_map.size == explanation.image.size == decode(path).size
        assert explanation.heat_map.mode == "RGB"
    large = explainer.explain(np.zeros((500, 2000, 3), np.uint8))
    assert large.heat_map.size == large.image.size == (768, 192)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 3)])
def test_small_images(explainer: Explainer, size: tuple[int, int]) -> None:
    assert explainer.explain(np.full((size[1], size[0], 3), 200, np.uint8)).heat_map.size == size


def test_nothing_is_coloured_outside_the_crop(explanation: Explanation) -> None:
    """The outermost sixteenth on each side is grey, and a white frame marks the edge of the network's crop."""
    heat = np.asarray(explanation.heat_map)
    assert heat.shape == (512, 512, 3)
    assert (heat[:32] == heat[:32, :, :1]).all()
    assert (heat[:, 480:] == heat[:, 480:, :1]).all()
    assert (heat[32, 32:480] == 255).all()
    inside = heat[40:470, 40:470].astype(int)
    assert (np.ptp(inside, axis=2) > 20).mean() > 0.3


def test_colours_show_the_sign() -> None:
    from safelight.moderation.explain import _overlay_heat_map

    contributions = np.full((7, 7), -16, np.float32)
    contributions[:, 4:] = 16
    heat = np.asarray(_overlay_heat_map(Image.new("RGB", (256, 256), (128, 128, 128)), contributions)).astype(
        int
    )
    left, right = heat[128, 60], heat[128, 200]
    assert left[2] > left[0] + 50, "blue pulls toward safe"
    assert right[0] > right[2] + 50, "red pulls toward unsafe"


def test_a_frame_is_explained_by_its_index(explainer: Explainer, photographs: list[Path]) -> None:
    pictures = [decode(path).image.resize((200, 160)) for path in photographs[:3]]
    data = write_animation(pictures)
    for index, picture in enumerate(pictures):
        np.testing.assert_allclose(
            explainer.explain(data, frame=index).contributions,
            explainer.explain(np.asarray(picture)).contributions,
            atol=1e-4,
        )


def test_the_verdicts_frame_can_be_explained(
    explainer: Explainer, open_nsfw_exact: NetworkClassifier, photographs: list[Path]
) -> None:
    order = [photographs[number % 5] for number in (3, 1, 3, 1, 0, 3, 1, 3)]
    data = write_animation([decode(path).image.resize((120, 120)) for path in order])
    limits = DecodeLimits(max_frames=4)
    verdict = Moderator(open_nsfw_exact, Policy.load("standard"), limits).judge(data)
    assert verdict.frame == 4
    assert explainer.explain(data, limits=limits, frame=4).unsafe == pytest.approx(verdict.unsafe, abs=1e-6)


def test_a_frame_that_does_not_exist(explainer: Explainer, photographs: list[Path]) -> None:
    with pytest.raises(SafelightError, match="frame"):
        explainer.explain(photographs[0], frame=1)


def test_limits_hold(explainer: Explainer, photographs: list[Path]) -> None:
    with pytest.raises(ImageTooManyPixelsError):
        explainer.explain(photographs[0], limits=DecodeLimits(max_pixels=1000))


@pytest.mark.parametrize("name", ["nsfw-image-detection-384", "owner/name", "./folder"])
def test_other_classifiers_have_no_exact_map(name: str) -> None:
    with pytest.raises(ExplanationUnsupportedError) as caught:
        Explainer(name)
    assert caught.value.message == f"{name} has no exact explanation map."
    assert caught.value.hint.endswith("use --classifier open-nsfw.")


def test_it_is_saved_as_a_png_with_its_values(explanation: Explanation, tmp_path: Path) -> None:
    path = tmp_path / "maps" / "deep" / "astronaut.png"
    explanation.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["astronaut.png"]
    with Image.open(path) as written:
        assert (written.format, written.size) == ("PNG", (512, 512))
        np.testing.assert_array_equal(np.asarray(written), np.asarray(explanation.heat_map))
        assert float(written.text["unsafe"]) == explanation.unsafe
        numbers = np.array(
            [float(n) for n in written.text["contributions"].replace("[", "").replace("]", "").split(",")]
        )
    np.testing.assert_allclose(numbers.reshape(7, 7), explanation.contributions, atol=1e-4)


def test_a_map_that_cannot_be_written(explanation: Explanation, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError) as caught:
        explanation.save(tmp_path / "taken")
    assert caught.value.message == f"{tmp_path / 'taken'} cannot be written: Is a directory."
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_a_path_below_a_file(explanation: Explanation, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        explanation.save(tmp_path / "file" / "x.png")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk(explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.atomic_write.temporary_path", lambda path: path.with_name(".tmp"))
    (tmp_path / ".tmp").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):
        explanation.save(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
