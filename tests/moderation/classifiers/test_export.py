from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import pytest

from safelight.errors import ExportParityError, OutputError, OutputExistsError, UsageError
from safelight.images import decode
from safelight.moderation import Moderator, Policy
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.moderation.classifiers.definition import ClassifierDefinition
from safelight.moderation.classifiers.export import export_classifier
from safelight.moderation.classifiers.loading import load_definition
from safelight.settings import Settings

FILES = {
    "onnx": ("classifier.json", "classifier.onnx"),
    "openvino": ("classifier.bin", "classifier.json", "classifier.xml"),
    "torchscript": ("classifier.json", "classifier.pt"),
}


@pytest.fixture(scope="module")
def blueprint(settings: Settings) -> ClassifierDefinition:
    return load_definition(settings, "open-nsfw")


@pytest.fixture(scope="module")
def small(settings: Settings, checkpoints: Any, load: Callable[..., Any]) -> ClassifierDefinition:
    load(checkpoints.nsfw_first)
    return load_definition(settings, str(checkpoints.nsfw_first))


def run_in_child_process(folder: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run an export with its inference engine alone, as its users will."""
    manifest = json.loads((folder / "classifier.json").read_text())
    if manifest["format"] == "onnx":
        session = ort.InferenceSession(folder / "classifier.onnx", providers=["CPUExecutionProvider"])
        answer = session.run(manifest["outputs"], {manifest["input"]["name"]: pixels})
    elif manifest["format"] == "openvino":
        compiled = ov.Core().compile_model(
            folder / "classifier.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        outputs = compiled({manifest["input"]["name"]: pixels})
        answer = [outputs[name] for name in manifest["outputs"]]
    else:
        from safelight.moderation.classifiers.torchscript import run

        answer = run(folder / "classifier.pt", pixels)
    return answer[0], answer[1]


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("which", ["open-nsfw", "timm"])
def test_an_export_gives_the_same_scores_in_another_process(
    blueprint: ClassifierDefinition,
    small: ClassifierDefinition,
    load: Callable[..., NetworkClassifier],
    checkpoints: Any,
    open_nsfw_exact: NetworkClassifier,
    photographs: list[Path],
    tmp_path: Path,
    form: str,
    which: str,
) -> None:
    original = blueprint if which == "open-nsfw" else small
    classifier = open_nsfw_exact if which == "open-nsfw" else load(checkpoints.nsfw_first, exact=True)
    done = export_classifier(original, form, tmp_path / "deep" / "out")
    assert done.folder == tmp_path / "deep" / "out"
    assert done.files == FILES[form] == tuple(sorted(p.name for p in done.folder.iterdir()))
    assert [p.name for p in done.folder.parent.iterdir()] == ["out"], "nothing temporary is left"
    assert 0 <= done.probability_error <= 1e-3
    assert 0 <= done.embedding_error <= 1e-3

    moderator = Moderator(classifier, Policy.load("standard"))
    verdicts = [moderator.judge(path) for path in photographs]
    pixels = np.stack([original.preprocessing.apply(decode(path).image) for path in photographs])
    probabilities, embeddings = run_in_child_process(done.folder, pixels)
    for row, embedding, verdict in zip(probabilities, embeddings, verdicts, strict=True):
        scores = dict(zip(original.labels, row.tolist(), strict=True))
        assert scores == pytest.approx(dict(verdict.scores), abs=1e-4)
        np.testing.assert_allclose(embedding, verdict.embedding, atol=1e-3 * np.abs(embedding).max())


def test_the_manifest_is_complete(blueprint: ClassifierDefinition, tmp_path: Path) -> None:
    export_classifier(blueprint, "onnx", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "classifier.json").read_text()) == {
        "classifier": "open-nsfw",
        "digest": blueprint.digest,
        "format": "onnx",
        "labels": ["sfw", "nsfw"],
        "input": {
            "name": "pixels",
            "dtype": "uint8",
            "layout": "NHWC, RGB",
            "shape": ["batch", 224, 224, 3],
        },
        "outputs": ["probabilities", "embedding"],
        "preprocessing": {
            "resize": "squash",
            "resized": 256,
            "crop": 224,
            "interpolation": "bilinear",
            "jpeg_round_trip": True,
        },
    }


def test_an_unknown_format(blueprint: ClassifierDefinition, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export_classifier(blueprint, "coreml", tmp_path / "out")
    assert (
        caught.value.message == "There is no export format 'coreml'; there are onnx, openvino, torchscript."
    )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder(blueprint: ClassifierDefinition, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError) as caught:
        export_classifier(blueprint, "onnx", out)
    assert caught.value.message == f"{out} is there already."
    assert (out / "mine.txt").read_text() == "keep"
    with pytest.raises(OutputExistsError) as caught:
        export_classifier(blueprint, "onnx", out, overwrite=True)
    assert caught.value.message == f"{out} is no earlier export, so it is not replaced."
    assert (out / "mine.txt").read_text() == "keep"
    (out / "mine.txt").rename(out / "classifier.pt")
    export_classifier(blueprint, "onnx", out, overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == list(FILES["onnx"])


def test_a_folder_that_cannot_be_created(blueprint: ClassifierDefinition, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"out cannot be written: "):
        export_classifier(blueprint, "onnx", tmp_path / "file" / "out")


def test_an_export_that_differs_is_not_kept(
    small: ClassifierDefinition, checkpoints: Any, tmp_path: Path
) -> None:
    """Traced from another checkpoint than the graph: its head is swapped."""
    mixed = replace(small, folder=checkpoints.sfw_first)
    out = tmp_path / "out"
    with pytest.raises(ExportParityError, match=r"^The torchscript network strays: probabilities by "):
        export_classifier(mixed, "torchscript", out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "classifier.pt").touch()
    with pytest.raises(ExportParityError):
        export_classifier(mixed, "torchscript", out, overwrite=True)
    assert [p.name for p in out.iterdir()] == ["classifier.pt"], "what was there before stays"
