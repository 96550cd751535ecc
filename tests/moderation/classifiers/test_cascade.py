from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import BackendError, DigestMismatchError, UsageError
from safelight.moderation import load_classifier
from safelight.moderation.classifiers import loading, open_nsfw
from safelight.moderation.classifiers.cascade import CascadedNetwork
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.runtime.backends import Outputs
from safelight.runtime.graph import EMBEDDING, PROBABILITIES
from safelight.runtime.machine import INTEGER_UNITS, inspect_machine
from safelight.settings import Settings

needs_integer_units = pytest.mark.skipif(
    not INTEGER_UNITS & set(inspect_machine().vector_units), reason="needs a processor with VNNI"
)


@dataclass
class Network:
    """Takes a picture's first byte as its unsafe probability, in percent, plus an error."""

    name: int
    error: float = 0.0
    seen: list[int] = field(default_factory=list)

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        self.seen += pixels[:, 0, 0, 0].tolist()
        unsafe = np.clip(pixels[:, 0, 0, 0] / 100 + self.error, 0, 1).astype(np.float32)
        return {
            PROBABILITIES: np.stack([1 - unsafe, unsafe], axis=1),
            EMBEDDING: np.full((len(pixels), 3), self.name, np.float32),
        }


def pixels(*percent: int) -> NDArray[np.uint8]:
    return np.array(percent, np.uint8).reshape(-1, 1, 1, 1)


def test_only_clearly_harmless_pictures_keep_the_integers_results() -> None:
    rough, precise = Network(8, error=0.004), Network(32)
    cascade = CascadedNetwork(rough, precise, safe=0, unsafe_below=0.02)
    outputs = cascade.run(pixels(1, 2, 90, 0, 1))
    assert rough.seen == [1, 2, 90, 0, 1]
    assert precise.seen == [2, 90]
    assert outputs[PROBABILITIES][:, 1] == pytest.approx([0.014, 0.02, 0.9, 0.004, 0.014])
    assert outputs[EMBEDDING][:, 0].tolist() == [8, 32, 32, 8, 8]


def test_fp32_does_not_run_where_nothing_is_doubtful() -> None:
    precise = Network(32)
    CascadedNetwork(Network(8), precise, safe=0, unsafe_below=0.02).run(pixels(0, 1))
    assert precise.seen == []


@pytest.mark.parametrize("error", [-0.015, 0.3, float("nan")])
def test_integers_that_stray_on_this_machine_are_refused(error: float) -> None:
    """Those that call a picture of 0.03 harmless; those whose error shows in doubtful pictures only; and no numbers."""
    cascade = CascadedNetwork(Network(8, error=error), Network(32), safe=0, unsafe_below=0.02)
    with pytest.raises(BackendError, match="strays"):
        cascade.check(pixels(3, 30))


def test_integers_that_keep_to_fp32_are_not_refused() -> None:
    CascadedNetwork(Network(8, error=0.002), Network(32), safe=0, unsafe_below=0.02).check(pixels(1, 30))


@needs_integer_units
def test_open_nsfw_in_int8_keeps_to_fp32_and_names_what_it_ran_in(settings: Settings) -> None:
    chosen = settings.model_copy(update={"backend": "openvino", "precision": "int8"})
    cascade = load_classifier(chosen, "open-nsfw")
    precise = load_classifier(chosen.model_copy(update={"precision": "fp32"}), "open-nsfw")
    assert cascade.info.arithmetic == "fast, openvino int8 below 0.02, fp32 from there on"
    assert cascade.info.digest == precise.info.digest
    squares = CLASSIFIERS["open-nsfw"].define().probe_inputs()
    ours, theirs = cascade.predict(squares), precise.predict(squares)
    harmless = [a.scores["nsfw"] < open_nsfw.QUANTIZED_BELOW for a in ours]
    assert any(harmless), "some pictures keep the integers' results"
    assert not all(harmless)
    for a, b, rough in zip(ours, theirs, harmless, strict=True):
        assert a.scores["nsfw"] == pytest.approx(b.scores["nsfw"], abs=0.01)
        assert np.array_equal(a.embedding, b.embedding) is not rough
    alone = [cascade.predict(square[None])[0] for square in squares[:4]]
    assert [one.scores for one in alone] == [one.scores for one in ours[:4]], "whatever else is in the batch"


def test_a_processor_without_integer_units_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the products of two bytes saturate, and the measured errors do not hold."""
    monkeypatch.setattr(loading, "INTEGER_UNITS", frozenset({"none"}))
    with pytest.raises(BackendError, match="VNNI"):
        load_classifier(settings.model_copy(update={"backend": "auto", "precision": "int8"}), "open-nsfw")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"backend": "onnxruntime"}, BackendError, "does not run a network in int8"),
        ({"exact": True}, UsageError, "exact means fp32"),
    ],
)
def test_int8_is_refused_where_it_makes_no_sense(
    settings: Settings, change: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        load_classifier(
            settings.model_copy(update={"precision": "int8", "backend": "auto"} | change), "open-nsfw"
        )


def test_a_classifier_without_an_int8_form_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = replace(CLASSIFIERS["open-nsfw"].define(), quantized=None)
    monkeypatch.setattr(loading, "load_definition", lambda *_, **__: definition)
    with pytest.raises(BackendError, match="no int8 form"):
        load_classifier(settings.model_copy(update={"backend": "auto", "precision": "int8"}), "open-nsfw")


def test_another_file_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_nsfw, "QUANTIZED_SHA256", "0" * 64)
    with pytest.raises(DigestMismatchError):
        open_nsfw.read_quantized_graph()
