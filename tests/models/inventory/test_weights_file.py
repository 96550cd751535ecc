from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safelight.models.inventory.weights_file import MAX_TAGS, describe_weights_file

LORA = {
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": torch.zeros(
        4, 768
    ).half(),
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": torch.zeros(
        320, 4
    ).half(),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(4.0),
}


def test_a_lora_with_its_tags_and_words(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    tags = {"10_apple": {"red apple": 12, "table ": 3}, "5_pear": {"table": 4, "odd": "x"}, "broken": 5}
    metadata = {
        "ss_tag_frequency": json.dumps(tags),
        "modelspec.trigger_phrase": "applestyle, fruit",
        "ss_network_dim": "4",
    }
    save_file(LORA, path, metadata)
    path.with_suffix(".json").write_text(
        json.dumps({"activation text": "fruit, still life", "notes": "mine"})
    )
    found = describe_weights_file(path)
    assert (found.found.kind, found.found.family, found.size) == ("LoRA", "sd1", path.stat().st_size)
    assert found.training_tags == {"red apple": 12, "table": 7}
    assert found.trigger_words == ("applestyle", "fruit", "still life")
    assert found.precisions == {"fp16": 2 * 4 * (768 + 320), "fp32": 4}
    body = found.to_dict()
    assert [part["name"] for part in body["components"]] == ["denoiser", "text_encoder"]  # type: ignore[attr-defined]
    assert body["metadata"]["ss_network_dim"] == "4"  # type: ignore[index]
    assert body["adapter"] == {"kinds": ["LoRA"], "key_style": "kohya", "rank": 4, "layers": 1}
    json.dumps(body)


@pytest.mark.parametrize("tags", ["", "{", "[]", "5", "null", json.dumps({"a": [1]}), "[" * 100_000])
@pytest.mark.parametrize(
    "notes", [b"", b"\xff\xfe", b"[]", b'{"activation text": 5}', b'{"activation text": null}']
)
def test_damaged_notes_are_ignored(tmp_path: Path, tags: str, notes: bytes) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"ss_tag_frequency": tags})
    path.with_suffix(".json").write_bytes(notes)
    found = describe_weights_file(path)
    assert found.training_tags == {}
    assert found.trigger_words in ((), ("5",))


def test_the_most_frequent_tags_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tags: dict[str, Any] = {"set": {f"tag {number}": number for number in range(1000)}}
    save_file({"x": torch.zeros(1)}, path, {"ss_tag_frequency": json.dumps(tags)})
    kept = describe_weights_file(path).training_tags
    assert list(kept.items())[:2] == [("tag 999", 999), ("tag 998", 998)]
    assert len(kept) == MAX_TAGS
