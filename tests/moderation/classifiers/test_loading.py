from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.bench.peers import write_random_checkpoint
from safelight.errors import (
    BackendError,
    ClassifierUnknownError,
    DigestMismatchError,
    FileMissingError,
    InternalError,
    ModelNotPulledError,
    PickleRefusedError,
    UsageError,
)
from safelight.models.classifiers.classifier_store import ClassifierStore, ModelSource
from safelight.moderation import Classifier, Moderator, Policy, load_classifier
from safelight.moderation.classifiers.loading import classifier_folder, load_definition
from safelight.settings import Settings

Load = Callable[..., Classifier]


class TimmReference:
    """The documented way: timm's model of a folder, timm's transforms, Pillow."""

    def __init__(self, folder: Path) -> None:
        import timm

        self.model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        data = timm.data.resolve_model_data_config(self.model)
        self.transform = timm.data.create_transform(**data, is_training=False)
        self.labels = self.model.pretrained_cfg["label_names"]

    def judge(self, path: Path) -> tuple[dict[str, float], np.ndarray]:
        import torch

        with Image.open(path) as picture, torch.inference_mode():
            x = self.transform(picture.convert("RGB")).unsqueeze(0)
            scores = self.model(x).softmax(dim=-1)[0].tolist()
            embedding = self.model.forward_head(self.model.forward_features(x), pre_logits=True)[0]
        return dict(zip(self.labels, scores, strict=True)), embedding.numpy()


def assert_equals_timm(classifier: Classifier, folder: Path, pictures: list[Path]) -> None:
    moderator, timm = Moderator(classifier, Policy.load("standard")), TimmReference(folder)
    spread = []
    for path in pictures:
        scores, embedding = timm.judge(path)
        verdict = moderator.judge(path)
        assert verdict.scores == pytest.approx(scores, abs=1e-3), path.name
        np.testing.assert_allclose(verdict.embedding, embedding, atol=1e-3)
        spread.append(tuple(scores.values()))
    assert np.ptp(spread, axis=0).max() > 0.05, "scores that are all alike would prove nothing"


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "fast"])
def test_the_real_architecture_equals_timm(
    checkpoints: Any, load: Load, photographs: list[Path], exact: bool
) -> None:
    classifier = load(checkpoints.marqo, exact=exact)
    assert classifier.info.labels == ("NSFW", "SFW")
    assert classifier.info.embedding_dim == 192
    assert classifier.info.name == str(checkpoints.marqo)
    assert classifier.info.arithmetic == f"{'exact' if exact else 'fast'}, onnxruntime fp32"
    assert classifier.shrink_to is None if exact else classifier.shrink_to >= 384
    assert_equals_timm(classifier, checkpoints.marqo, photographs)


@pytest.mark.parametrize("name", ["nsfw_first", "sfw_first", "five"])
def test_other_checkpoints_equal_timm(
    checkpoints: Any, load: Load, photographs: list[Path], small_pngs: list[Path], name: str
) -> None:
    """Labels in either order and place, five of them, squash and centre crop, other networks."""
    folder = getattr(checkpoints, name)
    assert_equals_timm(load(folder, exact=True), folder, photographs)
    assert_equals_timm(load(folder), folder, small_pngs)


def test_openvino_equals_timm(checkpoints: Any, load: Load, small_pngs: list[Path]) -> None:
    assert_equals_timm(load(checkpoints.nsfw_first, backend="openvino"), checkpoints.nsfw_first, small_pngs)


def test_a_384_dimensional_backbone_equals_timm(load: Load, tmp_path: Path, photographs: list[Path]) -> None:
    folder = write_random_checkpoint(tmp_path / "small", "vit_small_patch16_384", depth=2)
    classifier = load(folder)
    assert classifier.info.embedding_dim == 384
    assert_equals_timm(classifier, folder, photographs)


def test_labels_in_pretrained_cfg_only_are_found(checkpoints: Any, load: Load) -> None:
    assert load(checkpoints.sfw_first).info.labels == ("SFW", "NSFW")


def test_nothing_is_downloaded(
    checkpoints: Any, load: Load, network_log: Path, photographs: list[Path]
) -> None:
    """In the converting process neither, where connections are refused too."""
    before = network_log.read_text()
    for folder in (checkpoints.nsfw_first, checkpoints.five):
        Moderator(load(folder), Policy.load("standard")).judge(photographs[0])
    attempts = network_log.read_text().removeprefix(before)
    assert set(attempts.splitlines()) <= {"'www.google-analytics.com'"}, "see test_backends.py"


def test_child_processes_refuse_connections_too(tmp_path: Path) -> None:
    script = "import urllib.request; urllib.request.urlopen('https://huggingface.co/')"
    log = tmp_path / "attempts.txt"
    environment = os.environ | {"NETWORK_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert "tests have no network" in done.stderr
    assert log.read_text() == "'huggingface.co'\n"


def test_a_slow_conversion_is_announced_once(
    checkpoints: Any,
    load: Load,
    settings: Settings,
    copied: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(checkpoints.nsfw_first)
    load_definition(settings, str(checkpoints.nsfw_first), on_message=pytest.fail)
    told: list[str] = []
    folder = copied(architecture="no_such_net")
    # A conversion that fails at once: its own errors are tested in test_timm_convert.py.
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(InternalError, match=r"^Converting changed failed"):
        load_definition(settings, str(folder), on_message=told.append)
    assert told == [f"Converting {folder} for this machine (once) …"]


def test_a_built_in_model_that_is_not_pulled(settings: Settings) -> None:
    with pytest.raises(ModelNotPulledError) as caught:
        load_classifier(settings, "nsfw-image-detection-384")
    assert caught.value.hint == "Fetch it once with: safelight models pull nsfw-image-detection-384"


def test_a_hub_id_that_is_not_pulled(settings: Settings) -> None:
    with pytest.raises(ModelNotPulledError) as caught:
        load_classifier(settings, "owner/name")
    assert caught.value.hint == "Fetch it once with: safelight models pull owner/name"


@pytest.mark.parametrize("name", ["opennsfw", "OPEN-NSFW", "a/b/c", "http://x/y/z"])
def test_an_unknown_name(settings: Settings, name: str) -> None:
    with pytest.raises(ClassifierUnknownError) as caught:
        load_classifier(settings, name)
    assert caught.value.message == f"There is no classifier {name!r}."


@pytest.mark.parametrize(
    "name",
    [
        "/nowhere/at/all",
        "./nowhere",
        "~/nowhere-at-all",
        "~nobody-of-that-name/x",
    ],
)
def test_a_missing_folder(settings: Settings, name: str) -> None:
    with pytest.raises(FileMissingError, match=r"^There is no folder "):
        load_classifier(settings, name)


def test_files_that_are_no_checkpoint(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    with pytest.raises(PickleRefusedError, match=r"^model\.pt is a pickle file\.$"):
        load_classifier(settings, str(tmp_path / "model.pt"))
    with pytest.raises(PickleRefusedError, match=r"has its weights only as model\.pt\.$"):
        load_classifier(settings, str(tmp_path))
    (tmp_path / "model.pt").unlink()
    with pytest.raises(FileMissingError, match=r"has no model\.safetensors\.$"):
        load_classifier(settings, str(tmp_path))


def pull_model(store: ClassifierStore, name: str, folder: Path) -> None:
    def fetch(source: ModelSource, target: Path) -> str:
        for file in source.files:
            shutil.copy(folder / file, target)
        return "c" * 40

    store.pull(name, fetch)


def test_a_pulled_model_by_its_name(
    checkpoints: Any, load: Load, settings: Settings, tmp_path: Path, small_pngs: list[Path]
) -> None:
    by_folder = load(checkpoints.nsfw_first)
    pull_model(ClassifierStore(settings.models_folder), "owner/small", checkpoints.nsfw_first)
    by_name = load_classifier(settings, "owner/small")
    assert by_name.info.name == "owner/small"
    assert by_name.info.digest == by_folder.info.digest
    policy = Policy.load("standard")
    one, other = (Moderator(c, policy).judge(small_pngs[0]) for c in (by_folder, by_name))
    assert one.scores == other.scores


def swap_labels(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["label_names"].reverse()
    (folder / "config.json").write_text(json.dumps(config))


def replace_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("change", "file"), [(swap_labels, "config.json"), (replace_weights, "model.safetensors")]
)
def test_a_changed_pulled_model_is_refused(
    checkpoints: Any, settings: Settings, tmp_path: Path, change: Callable[[Path], None], file: str
) -> None:
    """With its labels swapped, a classifier would allow unsafe images without anybody noticing."""
    here = settings.model_copy(update={"home": tmp_path / "home"})
    store = ClassifierStore(here.models_folder)
    pull_model(store, "owner/small", checkpoints.nsfw_first)
    folder, before = store.folder("owner/small"), store.record("owner/small").files[file]
    change(folder)
    found = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    for name in ("owner/small", str(folder)):
        with pytest.raises(DigestMismatchError) as caught:
            load_classifier(here, name)
        assert caught.value.message == (
            f"{folder / file} has SHA-256 {found}, not {before}, which it had when it was pulled."
        )
    pull_model(store, "owner/small", folder)  # to accept the change, pull again
    assert classifier_folder("owner/small", here) == folder


def test_a_pinned_model_is_checked_whatever_its_record_says(
    checkpoints: Any, settings: Settings, tmp_path: Path
) -> None:
    """Other weights and a record that matches them: the digests in the program count."""
    here = settings.model_copy(update={"home": tmp_path / "home"})
    pull_model(ClassifierStore(here.models_folder), "owner/small", checkpoints.nsfw_first)
    folder = (here.models_folder / "owner--small").rename(here.models_folder / "nsfw-image-detection-384")
    record = (folder / "safelight.json").read_text().replace('"owner/small"', '"nsfw-image-detection-384"')
    (folder / "safelight.json").write_text(record)
    with pytest.raises(DigestMismatchError, match=r"config\.json has SHA-256 .*, not ae848d1d"):
        load_classifier(here, "nsfw-image-detection-384")


def test_a_pulled_model_takes_precedence_over_a_folder_of_that_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Any
) -> None:
    store = ClassifierStore(tmp_path / "models")
    here = settings.model_copy(update={"home": tmp_path})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "nsfw-image-detection-384").mkdir()
    assert classifier_folder("owner/name", here) == Path("owner/name")
    pull_model(store, "owner/name", checkpoints.nsfw_first)
    assert classifier_folder("owner/name", here) == tmp_path / "models" / "owner--name"
    assert classifier_folder("./owner/name", here) == Path("owner/name")
    with pytest.raises(ModelNotPulledError):
        classifier_folder("nsfw-image-detection-384", here)


def test_the_setting_names_the_classifier(settings: Settings) -> None:
    assert load_classifier(settings).info.name == "open-nsfw"
    with pytest.raises(ModelNotPulledError):
        load_classifier(settings.model_copy(update={"classifier": "owner/name"}))


def test_an_unsuitable_backend(home: Path) -> None:
    with pytest.raises(BackendError) as caught:
        load_classifier(Settings(home=home, backend="onnxruntime", precision="bf16"))
    assert caught.value.message == "onnxruntime does not run a network in bf16."


def test_exact_means_reference_arithmetic(home: Path) -> None:
    assert load_classifier(Settings(home=home, exact=True)).info.arithmetic == "exact, onnxruntime fp32"
    on_openvino = load_classifier(Settings(home=home, exact=True, backend="openvino"))
    assert on_openvino.info.arithmetic == "exact, openvino fp32"
    with pytest.raises(UsageError) as caught:
        load_classifier(Settings(home=home, exact=True, precision="bf16"))
    assert caught.value.message == "exact means fp32, and bf16 was asked for too."


@pytest.mark.usefixtures("few_probe_images")
def test_auto_probes_once(tmp_path: Path, open_nsfw_exact: Classifier, photographs: list[Path]) -> None:
    told: list[str] = []
    settings = Settings(home=tmp_path)
    first = load_classifier(settings, on_message=told.append)
    assert told == ["Measuring the fastest way to run this network here (once) …"]
    again = load_classifier(settings, on_message=told.append)
    assert len(told) == 1
    assert first.info == again.info
    assert first.info.arithmetic in {"fast, onnxruntime fp32", "fast, openvino fp32", "fast, openvino bf16"}
    policy = Policy.load("standard")
    for path in photographs:
        fast, exact = (Moderator(c, policy).judge(path) for c in (first, open_nsfw_exact))
        assert fast.unsafe == pytest.approx(exact.unsafe, abs=0.02)


@pytest.mark.usefixtures("few_probe_images")
@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_a_home_that_is_not_writable(tmp_path: Path, backend: str) -> None:
    """A file in place of the folder stands for a read-only disk."""
    (tmp_path / "home").touch()
    precision = "auto" if backend == "auto" else "fp32"
    settings = Settings(home=tmp_path / "home", backend=backend, precision=precision)
    assert load_classifier(settings).info.embedding_dim == 1024


def test_a_very_long_name_is_unknown(settings: Settings) -> None:
    with pytest.raises(ClassifierUnknownError):
        load_classifier(settings, "x" * 300)


@pytest.mark.usefixtures("few_probe_images")
def test_a_cached_probe_result_needs_no_probe_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home", precision="fp32")
    first = load_classifier(settings).info
    monkeypatch.setattr(
        "safelight.moderation.classifiers.definition.probe_images",
        lambda: pytest.fail("there is nothing to probe"),
    )
    assert load_classifier(settings).info == first
