"""What the pipelines of newer families do in their own way: sizes, guidance, options that are lists, other networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.generation.conftest import GenerateImages, same_pixels, to_array

from safelight.errors import CheckpointInvalidError, RequestError
from safelight.generation.engine import Engine
from safelight.generation.progress import Watcher
from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.models.tokenizers.prompt_limit import prompt_limit_of

Tiny = Callable[[str], Path]
Memory = Callable[[str], LoadedCheckpoint]


@pytest.mark.parametrize(
    ("name", "size"), [("hidream", (96, 32)), ("hidream", (48, 64)), ("kandinsky5", (96, 64))]
)
def test_a_size_is_kept_by_pipelines_that_would_choose_another(
    name: str, size: tuple[int, int], draw: GenerateImages
) -> None:
    (made,) = draw(name, steps=1, width=size[0], height=size[1])
    assert made.image.size == size


def test_a_size_for_which_the_denoiser_has_no_positions_is_refused(
    engine: Engine, draw: GenerateImages
) -> None:
    with pytest.raises(RequestError, match="1040 x 1024 is more than the 1048576 pixels that HiDream-I1"):
        draw("hidream", width=1040, height=1024)


def test_the_guidance_scale_reaches_a_guider_of_the_run_only(draw: GenerateImages, in_memory: Memory) -> None:
    few, many = (draw("hunyuan-image", steps=2, guidance_scale=scale)[0] for scale in (1.5, 9.0))
    none, again = (
        draw("hunyuan-image", steps=2, guidance_scale=1, negative_prompt=text)[0] for text in ("", "blue")
    )
    assert not same_pixels(few, many)
    assert same_pixels(none, again)
    guider: Any = in_memory("hunyuan-image").components["guider"]
    assert guider.guidance_scale == 3.5
    assert guider.momentum_buffer is None


def test_a_quoted_text_uses_the_second_guider_and_text_encoder(draw: GenerateImages) -> None:
    plain, quoted = (
        draw("hunyuan-image", steps=2, prompt=text)[0] for text in ("a sign abc", 'a sign "abc"')
    )
    assert not same_pixels(plain, quoted)


def test_the_steps_are_those_of_the_request_not_of_a_config(draw: GenerateImages) -> None:
    told: list[int] = []
    watcher = Watcher(lambda each: told.append(each.steps))
    (made,) = draw("qwen-image-21", watcher, steps=2)
    assert told == [2, 2]
    assert made.image.mode == "RGB"


def test_hidream_says_that_its_fourth_text_encoder_is_published_apart(tiny: Tiny, tmp_path: Path) -> None:
    index = json.loads((tiny("hidream") / "model_index.json").read_text())
    index |= {"text_encoder_4": [None, None], "tokenizer_4": [None, None]}
    for entry in tiny("hidream").iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointInvalidError, match="lacks text_encoder_4, tokenizer_4") as caught:
        describe_checkpoint(tmp_path, "hidream")
    assert "Llama 3.1 8B Instruct" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "limit"), [("hidream", 128), ("krea2", 507), ("kandinsky5", 511), ("hunyuan-image", 999)]
)
def test_the_prompt_limit_is_that_of_the_tokenizer_that_reads_the_prompt(
    name: str, limit: int, in_memory: Memory
) -> None:
    found = prompt_limit_of(in_memory(name))
    assert found is not None
    assert found.max_tokens == limit
    assert found.count_tokens("ab" * 40) >= 80  # tiny tokenizers have a token for each letter


def test_a_variation_of_patched_latents(draw: GenerateImages) -> None:
    plain, *varied = (
        draw("ernie-image", variation={"seed": 3, "strength": strength})[0] for strength in (0.0, 0.1, 1.0)
    )
    distances = [np.abs(to_array(each).astype(int) - to_array(plain)).mean() for each in varied]
    assert 0 < distances[0] < distances[1]


def test_an_index_may_have_lists_that_are_options(tiny: Tiny) -> None:
    folder = read_folder(tiny("krea2"))
    assert folder.options["text_encoder_select_layers"] == [1, 2]
    assert "text_encoder_select_layers" not in folder.components


def test_a_network_that_rewrites_prompts_is_not_loaded(tiny: Tiny, tmp_path: Path) -> None:
    index = json.loads((tiny("ernie-image") / "model_index.json").read_text())
    index |= {
        "pe": ["transformers", "Ministral3ForCausalLM"],
        "pe_tokenizer": ["transformers", "TokenizersBackend"],
    }
    for entry in tiny("ernie-image").iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert not {"pe", "pe_tokenizer"} & read_folder(tmp_path).components.keys()
