from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from safelight.images import decode
from safelight.moderation import Classifier, ClassifierInfo, Prediction, load_classifier
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.settings import Settings


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def classifier(request: pytest.FixtureRequest, settings: Settings) -> NetworkClassifier:
    return load_classifier(settings.model_copy(update={"backend": request.param}), "open-nsfw")


@pytest.fixture(scope="module")
def squares(open_nsfw: NetworkClassifier, photographs: list[Path]) -> np.ndarray:
    """33 different squares: photographs and mixtures of two of them."""
    five = [open_nsfw.prepare(decode(path).image) for path in photographs]
    generator = np.random.default_rng(1)
    mixed = []
    for _ in range(28):
        one, other = generator.choice(5, 2, replace=False)
        share = generator.uniform(0.1, 0.9)
        mixed.append((five[one] * share + five[other] * (1 - share)).astype(np.uint8))
    return np.stack([*five, *mixed])


@pytest.fixture(scope="module")
def alone(classifier: NetworkClassifier, squares: np.ndarray) -> list[Prediction]:
    """The prediction for each square when it is alone in its batch."""
    return [classifier.predict(squares[i : i + 1])[0] for i in range(len(squares))]


def same(one: Prediction, other: Prediction) -> bool:
    return one.scores == other.scores and np.array_equal(one.embedding, other.embedding)


def test_an_empty_batch(classifier: NetworkClassifier) -> None:
    assert classifier.predict(np.zeros((0, 224, 224, 3), np.uint8)) == []


@pytest.mark.parametrize("count", [1, 7, 33])
def test_batching_changes_no_bit(
    classifier: NetworkClassifier, squares: np.ndarray, alone: list[Prediction], count: int
) -> None:
    together = classifier.predict(squares[-count:])
    assert len(together) == count
    assert all(same(*pair) for pair in zip(together, alone[-count:], strict=True))


def test_eight_threads_change_no_bit(
    classifier: NetworkClassifier, squares: np.ndarray, alone: list[Prediction]
) -> None:
    def ask(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(squares))[: 1 + seed % 5]
        return all(same(p, alone[i]) for p, i in zip(classifier.predict(squares[order]), order, strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_scores_are_probabilities_by_name(alone: list[Prediction]) -> None:
    assert len({p.scores["nsfw"] for p in alone}) == 33, "every square is another picture"
    for prediction in alone:
        assert set(prediction.scores) == {"sfw", "nsfw"}
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-6)
        assert all(type(score) is float for score in prediction.scores.values())


def test_openvino_and_onnxruntime_agree(settings: Settings, squares: np.ndarray) -> None:
    one, other = (
        load_classifier(settings.model_copy(update={"backend": name}), "open-nsfw").predict(squares)
        for name in ("onnxruntime", "openvino")
    )
    for a, b in zip(one, other, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-5)
        np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-3)


def test_info_as_json() -> None:
    info = ClassifierInfo("x", "d" * 64, ("a", "b"), 7, "fast, openvino bf16")
    assert info.to_dict() == {"name": "x", "digest": "d" * 64, "arithmetic": "fast, openvino bf16"}


def test_labels_are_looked_up_by_name(
    checkpoints: object, load: Callable[..., Classifier], small_pngs: list[Path]
) -> None:
    """The same head with its rows and its labels swapped gives the same."""
    first, second = load(checkpoints.nsfw_first), load(checkpoints.sfw_first)
    assert first.info.labels == ("NSFW", "SFW")
    assert second.info.labels == ("SFW", "NSFW")
    squares = np.stack([first.prepare(decode(path).image) for path in small_pngs])
    for one, other in zip(first.predict(squares), second.predict(squares), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
        assert abs(one.scores["NSFW"] - one.scores["SFW"]) > 1e-3, "a tie would prove nothing"
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-5)
