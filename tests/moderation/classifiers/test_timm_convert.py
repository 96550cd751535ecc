from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from safelight.errors import InternalError, ModelInvalidError, PickleRefusedError
from safelight.images import decode
from safelight.moderation.classifiers import timm_convert
from safelight.moderation.classifiers.timm_config import TimmConfig, read_timm_config
from safelight.moderation.classifiers.timm_convert import build_module, is_converted, load_converted
from safelight.runtime.graph import PIXELS
from safelight.settings import Settings

Copied = Callable[..., Path]


def squares(config: TimmConfig, pictures: list[Path]) -> np.ndarray:
    return np.stack([config.preprocessing.apply(decode(path).image) for path in pictures])


def save(network: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(network.state_dict(), folder / "model.safetensors")


def test_a_conversion_happens_once(
    checkpoints: Any, load: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(checkpoints.nsfw_first)
    config = read_timm_config(checkpoints.nsfw_first)
    assert is_converted(config, settings.cache_folder)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("converted again"))
    session = ort.InferenceSession(
        load_converted(config, settings.cache_folder), providers=["CPUExecutionProvider"]
    )
    assert [o.name for o in session.get_outputs()] == ["probabilities", "embedding"]


def test_the_graph_takes_any_batch(
    checkpoints: Any, load: Callable[..., Any], settings: Settings, small_pngs: list[Path]
) -> None:
    load(checkpoints.nsfw_first)
    config = read_timm_config(checkpoints.nsfw_first)
    session = ort.InferenceSession(
        load_converted(config, settings.cache_folder), providers=["CPUExecutionProvider"]
    )
    pixels = squares(config, small_pngs)
    together = session.run(None, {PIXELS: pixels})
    for index in range(len(pixels)):
        for whole, part in zip(together, session.run(None, {PIXELS: pixels[index : index + 1]}), strict=True):
            np.testing.assert_allclose(whole[index], part[0], atol=1e-5)


def test_the_module_and_the_graph_agree(
    checkpoints: Any, load: Callable[..., Any], settings: Settings, small_pngs: list[Path]
) -> None:
    import torch

    load(checkpoints.five)
    config = read_timm_config(checkpoints.five)
    pixels = squares(config, small_pngs)
    with torch.inference_mode():
        expected = [output.numpy() for output in build_module(config)(torch.from_numpy(pixels))]
    session = ort.InferenceSession(
        load_converted(config, settings.cache_folder), providers=["CPUExecutionProvider"]
    )
    for ours, theirs in zip(session.run(None, {PIXELS: pixels}), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_another_configuration_is_another_conversion(copied: Copied, settings: Settings) -> None:
    assert not is_converted(read_timm_config(copied(note="never seen")), settings.cache_folder)


def test_weights_that_do_not_match_are_named_by_the_converting_process(
    copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs no file of the working directory: a folder of uploads may hold a file named timm.py."""
    working = tmp_path / "uploads"
    working.mkdir()
    (working / "timm.py").write_text("from pathlib import Path\nPath('was-run').touch()\nraise ValueError\n")
    monkeypatch.chdir(working)
    folder = copied(label_names=["a", "b", "c"], num_classes=3)
    with pytest.raises(ModelInvalidError) as caught:
        load_converted(read_timm_config(folder), tmp_path / "cache")
    assert caught.value.message.startswith(
        "The weights do not fit timm's 'test_vit' with 3 labels: "
        "Error(s) in loading state_dict for VisionTransformer: size mismatch for head.weight"
    )
    assert list((tmp_path / "cache" / "graphs").iterdir()) == []
    assert [path.name for path in working.iterdir()] == ["timm.py"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "no_such_net"}, "'no_such_net' with 2 labels: Unknown model (no_such_net)"),
        (
            {"architecture": "test_resnet", "pretrained_cfg": {"fixed_input_size": None}},
            "'test_resnet' with 2 labels: Error(s) in loading state_dict for ResNet",
        ),
        ({"model_args": {"colour": "red"}}, "'test_vit' with 2 labels: "),
        ({"model_args": {"embed_dim": 32}}, "'test_vit' with 2 labels: "),
    ],
    ids=["unknown", "other", "argument", "size"],
)
def test_an_architecture_that_does_not_match(copied: Copied, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelInvalidError) as caught:
        build_module(read_timm_config(copied(**changes)))
    assert caught.value.message.startswith(f"The weights do not fit timm's {complaint}")


def test_a_missing_tensor_is_named(copied: Copied) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied()
    weights = load_file(folder / "model.safetensors")
    del weights["pos_embed"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelInvalidError, match=r'Missing key\(s\) in state_dict: "pos_embed"'):
        build_module(read_timm_config(folder))


@pytest.mark.parametrize("arguments", [{"img_size": 96}, None], ids=["model_args", "input_size"])
def test_weights_of_another_size_than_the_architectures_default(
    copied: Copied, small_pngs: list[Path], arguments: dict[str, Any] | None
) -> None:
    import timm
    import torch

    folder = copied(model_args=arguments, pretrained_cfg={"input_size": [3, 96, 96]})
    save(timm.create_model("test_vit", num_classes=2, img_size=96), folder)
    config = read_timm_config(folder)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert theirs.pos_embed.shape[1] == 37
    pixels = torch.from_numpy(squares(config, small_pngs))
    with torch.inference_mode():
        probabilities, _ = build_module(config)(pixels)
        expected = theirs((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).softmax(dim=-1)
    torch.testing.assert_close(probabilities, expected, atol=1e-5, rtol=0)


def test_a_network_with_two_heads_is_refused(copied: Copied) -> None:
    import timm

    name = "deit_tiny_distilled_patch16_224"
    arguments = {"depth": 1}
    folder = copied(architecture=name, model_args=arguments, pretrained_cfg={"input_size": [3, 224, 224]})
    save(timm.create_model(name, num_classes=2, **arguments), folder)
    with pytest.raises(ModelInvalidError, match="another kind of head"):
        build_module(read_timm_config(folder))


def test_an_architecture_is_never_downloaded(copied: Copied, network_log: Path) -> None:
    """timm itself would query the hub for a network of such a name."""
    folder = copied(architecture="hf-hub:owner/name")
    before = network_log.read_text()
    with pytest.raises(ModelInvalidError, match="hf-hub:owner/name"):
        build_module(read_timm_config(folder))
    assert network_log.read_text() == before


def test_a_pickle_is_not_opened_through_model_args(copied: Copied, tmp_path: Path) -> None:
    import timm
    import torch

    torch.save(timm.create_model("test_vit", num_classes=2).state_dict(), tmp_path / "other.pt")
    folder = copied(model_args={"checkpoint_path": str(tmp_path / "other.pt")})
    with pytest.raises((ModelInvalidError, PickleRefusedError), match="checkpoint_path"):
        build_module(read_timm_config(folder))


def test_a_converting_process_that_dies(
    copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = shutil.which("false")
    if dies is None:
        pytest.skip("needs false")
    monkeypatch.setattr(sys, "executable", dies)
    with pytest.raises(InternalError, match=r"^Converting changed failed: "):
        timm_convert.load_converted(read_timm_config(copied()), tmp_path)
