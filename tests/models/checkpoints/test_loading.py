from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.tiny import build_tiny
from tests.tiny.generation import generate_array

from safelight.errors import CheckpointInvalidError, UnsupportedError
from safelight.models.checkpoints import loading
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.loading import describe_parts, load_checkpoint
from safelight.models.families import IMAGE, INPAINT, TEXT

Tiny = Callable[[str], Path]


def test_pipelines_share_networks_and_never_a_scheduler(tiny: Tiny) -> None:
    loaded = load_checkpoint(describe_checkpoint(tiny("sd1"), "a"))
    pipelines = [loaded.pipeline(mode) for mode in (TEXT, IMAGE, INPAINT, TEXT)]
    assert len({id(pipeline.unet) for pipeline in pipelines}) == 1
    assert len({id(pipeline.vae) for pipeline in pipelines}) == 1
    assert len({id(pipeline.scheduler) for pipeline in pipelines}) == 4
    assert all(pipeline.safety_checker is None for pipeline in pipelines)


def test_a_given_scheduler_is_used_without_warnings(tiny: Tiny, recwarn: pytest.WarningsRecorder) -> None:
    loaded = load_checkpoint(describe_checkpoint(tiny("sd1"), "a"))
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear"
    )  # steps_offset 0 and clip_sample: both give warnings
    pipeline = loaded.pipeline(TEXT, scheduler)
    assert pipeline.scheduler is scheduler
    assert (scheduler.config.steps_offset, scheduler.config.clip_sample) == (1, False)
    assert not recwarn.list


def test_four_threads_generate_the_same_as_one(tiny: Tiny) -> None:
    loaded = load_checkpoint(describe_checkpoint(tiny("sd1"), "a"))
    alone = generate_array(loaded.pipeline(), loaded.family, TEXT)
    pictures: list[np.ndarray] = []

    def run() -> None:
        pictures.append(generate_array(loaded.pipeline(), loaded.family, TEXT))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pictures) == 4
    assert all(np.array_equal(picture, alone) for picture in pictures)


def test_half_precision_files_load_as_single_precision(tmp_path: Path) -> None:
    folder = build_tiny("sd1", tmp_path / "half", dtype=torch.float16)
    checkpoint = describe_checkpoint(folder, "half")
    assert checkpoint.precision == "fp16"
    loaded = load_checkpoint(checkpoint, "fp32")
    assert {p.dtype for p in loaded.components["unet"].parameters()} == {torch.float32}
    assert loaded.nbytes == pytest.approx(2 * checkpoint.size, rel=0.01)


@pytest.mark.parametrize(
    ("name", "side"), [("sd1", 64), ("sdxl", 64), ("sana", 1024), ("flux", 1024), ("sd3", 64), ("kolors", 64)]
)
def test_the_default_size_is_the_networks_own(name: str, side: int, tiny: Tiny) -> None:
    assert load_checkpoint(describe_checkpoint(tiny(name), name)).default_side == side


def test_networks_are_in_evaluation_mode(tiny: Tiny) -> None:
    unet = load_checkpoint(describe_checkpoint(tiny("sd1"), "a")).components["unet"]
    assert not unet.training
    assert not any(parameter.requires_grad for parameter in unet.parameters())


def test_options_of_the_model_index_reach_every_pipeline(tiny: Tiny) -> None:
    refiner = load_checkpoint(describe_checkpoint(tiny("sdxl-refiner"), "a"))
    assert refiner.pipeline(IMAGE).config.requires_aesthetics_score is True
    assert refiner.pipeline(INPAINT).config.force_zeros_for_empty_prompt is False
    assert (
        load_checkpoint(describe_checkpoint(tiny("flux2-klein-distilled"), "a"))
        .pipeline()
        .config.is_distilled
        is True
    )


def test_a_mode_that_a_family_lacks_is_an_error(tiny: Tiny) -> None:
    with pytest.raises(UnsupportedError, match="no text-to-image"):
        load_checkpoint(describe_checkpoint(tiny("sd1-inpaint"), "a")).pipeline(TEXT)


def test_sd3_may_have_no_t5(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("sd3"), tmp_path / "sd3"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    loaded = load_checkpoint(describe_checkpoint(folder, "a"))
    assert np.isfinite(generate_array(loaded.pipeline(), loaded.family, TEXT)).all()


def test_a_loaded_checkpoint_needs_no_files_and_writes_none(
    sd1: Path, network_log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = network_log.read_text()
    pipeline = load_checkpoint(describe_checkpoint(sd1, "a")).pipeline()
    mapped = Path("/proc/self/maps")
    if mapped.exists():  # Linux: the next lines would kill a process that still has a file mapped
        assert str(sd1) not in mapped.read_text()
    for file in sd1.rglob("*.safetensors"):
        file.write_bytes(b"")
    pipeline("red", num_inference_steps=1, height=64, width=64)
    assert capfd.readouterr() == ("", "")
    assert network_log.read_text() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not known what is mapped")
@pytest.mark.parametrize(("precision", "copied"), [("fp32", True), ("bf16", False)])
def test_weights_are_copied_once_at_most(
    precision: str, copied: bool, sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were converted while they were read have memory of their own; the files hold fp32."""
    cloned, clone = [], torch.Tensor.clone

    def count(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        cloned.append(tensor.nbytes)
        return clone(tensor, **options)

    monkeypatch.setattr(torch.Tensor, "clone", count)
    loaded = load_checkpoint(describe_checkpoint(sd1, "a"), precision)
    monkeypatch.undo()
    assert (sum(cloned) > 0.9 * loaded.nbytes) == copied
    assert sum(cloned) < 1.1 * loaded.nbytes if copied else sum(cloned) < 0.1 * loaded.nbytes


def change_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("file", "key", "says"),
    [
        (
            "unet/diffusion_pytorch_model.safetensors",
            "conv_in.weight",
            "'unet'.*lacks 1 tensors, conv_in.weight",
        ),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", "'vae'.*decoder.conv_out.bias"),
        (
            "text_encoder/model.safetensors",
            "final_layer_norm.weight",
            "'text_encoder'.*final_layer_norm.weight",
        ),
    ],
)
def test_a_missing_tensor_is_named(sd1: Path, file: str, key: str, says: str) -> None:
    change_weights(
        sd1 / file, lambda tensors: tensors.pop(next(name for name in tensors if name.endswith(key)))
    )
    with pytest.raises(CheckpointInvalidError, match=says):
        load_checkpoint(describe_checkpoint(sd1, "a"))


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "conv_in.weight"),
        ("text_encoder/model.safetensors", "final_layer_norm.weight"),
    ],
)
def test_a_wrong_shape_is_an_error(sd1: Path, file: str, key: str) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[next(name for name in tensors if name.endswith(key))] = torch.zeros(3)

    change_weights(sd1 / file, change)
    with pytest.raises(CheckpointInvalidError, match="cannot be loaded"):
        load_checkpoint(describe_checkpoint(sd1, "a"))


def test_a_damaged_tokenizer_is_an_error(sd1: Path) -> None:
    for file in (sd1 / "tokenizer").iterdir():
        file.write_text("{")
    with pytest.raises(CheckpointInvalidError, match="'tokenizer'"):
        load_checkpoint(describe_checkpoint(sd1, "a"))


@pytest.fixture
def kolors(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("kolors"), tmp_path / "kolors"))


@pytest.mark.parametrize("damaged", [b"", b"{", None])
def test_a_damaged_or_missing_sentencepiece_model_is_an_error(kolors: Path, damaged: bytes | None) -> None:
    file = kolors / "tokenizer" / "tokenizer.model"
    file.unlink() if damaged is None else file.write_bytes(damaged)
    with pytest.raises(CheckpointInvalidError, match="'tokenizer'"):
        load_checkpoint(describe_checkpoint(kolors, "a"))


def test_a_config_without_a_required_field_is_an_error(kolors: Path) -> None:
    file = kolors / "text_encoder" / "config.json"
    config = json.loads(file.read_text())
    del config["original_rope"]
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointInvalidError, match=r"'text_encoder'.*original_rope"):
        load_checkpoint(describe_checkpoint(kolors, "a"))


def test_chatglm_tokenizes_as_with_transformers_4(kolors: Path) -> None:
    """Two special tokens, the text, and the padding before them; the config is ChatGLM3's."""
    config = {
        "tokenizer_class": "ChatGLMTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
        "do_lower_case": False,
        "remove_space": False,
        "pad_token": "<unk>",
        "eos_token": "</s>",
    }
    (kolors / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer: Any = load_checkpoint(describe_checkpoint(kolors, "a")).components["tokenizer"]
    words = tokenizer.tokenizer.encode("a red cat")
    marks = [tokenizer.get_command(mark) for mark in ("[gMASK]", "sop")]
    for prompt, ids in (("a red cat", words), ("", []), ("a red cat " * 90, words * 90)):
        read = tokenizer(prompt, padding="max_length", max_length=256, truncation=True)
        kept = (marks + ids)[:256]
        fill = [0] * (256 - len(kept))
        assert read.input_ids == fill + kept
        assert read.attention_mask == fill + [1] * len(kept)
        assert read.position_ids == fill + list(range(len(kept)))


def test_a_file_that_is_damaged_after_it_was_described_is_our_error(
    sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = describe_parts(describe_checkpoint(sd1, "a"))
    (sd1 / "text_encoder" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointInvalidError, match="'text_encoder' was replaced"):
        parts.sources["text_encoder"].load()
    monkeypatch.setattr(loading, "_check_unchanged", lambda *_: None)  # as if it happened after the check
    with pytest.raises(CheckpointInvalidError, match=r"text_encoder.* is not a safetensors file"):
        parts.sources["text_encoder"].load()


def test_a_damaged_tokenizer_is_found_before_weights_are_hashed(
    sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading.FileDigests, "digest", lambda *_: pytest.fail("weights were hashed"))
    for file in (sd1 / "tokenizer").iterdir():
        file.write_text("{")
    with pytest.raises(CheckpointInvalidError, match="'tokenizer'"):
        describe_parts(describe_checkpoint(sd1, "a"))


def test_a_class_that_the_library_lacks_is_an_error(sd1: Path) -> None:
    index = json.loads((sd1 / "model_index.json").read_text()) | {
        "vae": ["diffusers", "AutoencoderOfTomorrow"]
    }
    (sd1 / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointInvalidError, match="AutoencoderOfTomorrow"):
        load_checkpoint(describe_checkpoint(sd1, "a"))


def test_sharded_weights_and_variants_load(sd1: Path, tiny: Tiny) -> None:
    unet = UNet2DConditionModel.from_pretrained(sd1 / "unet")
    vae = AutoencoderKL.from_pretrained(sd1 / "vae")
    shutil.rmtree(sd1 / "unet")
    shutil.rmtree(sd1 / "vae")
    unet.save_pretrained(sd1 / "unet", max_shard_size="300KB")
    vae.save_pretrained(sd1 / "vae", variant="fp16")
    whole, parted = (
        load_checkpoint(describe_checkpoint(tiny("sd1"), "a")),
        load_checkpoint(describe_checkpoint(sd1, "b")),
    )
    assert np.array_equal(
        generate_array(whole.pipeline(), whole.family, TEXT),
        generate_array(parted.pipeline(), parted.family, TEXT),
    )
