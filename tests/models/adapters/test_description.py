from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.models.inventory.test_file_kinds import header

from safelight.models.adapters.description import describe_adapter, embedding_hash, lora_hash
from safelight.models.checkpoints.safetensors_header import read_header

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
FLAT = CROSS.replace(".", "_")
CONVOLUTION = {"lora_down.weight": (4, 4, 3, 3), "lora_up.weight": (320, 4, 1, 1)}
LOW = {"lora_down.weight": (8, 768), "lora_up.weight": (320, 8)}


@pytest.mark.parametrize(
    ("prefix", "endings", "kinds", "style", "rank"),
    [
        (f"lora_unet_{FLAT}", LOW, ("LoRA",), "kohya", 8),
        (f"lora_unet_{FLAT}", {**LOW, "dora_scale": (320, 1)}, ("LoRA", "DoRA"), "kohya", 8),
        ("lora_unet_conv_in", CONVOLUTION, ("LoCon",), "kohya", 4),
        (f"lora_unet_{FLAT}", {"hada_w1_a": (320, 4), "hada_w1_b": (4, 768)}, ("LoHa",), "LyCORIS", 4),
        (f"lora_unet_{FLAT}", {"lokr_w1": (4, 4), "lokr_w2": (80, 192)}, ("LoKr",), "LyCORIS", None),
        (f"lora_unet_{FLAT}", {"lokr_w1": (4, 4), "lokr_w2_b": (3, 9), "lokr_w2_a": (8, 3)}, ("LoKr",), "LyCORIS", 3),
        (f"lora_unet_{FLAT}", {"oft_blocks": (4, 80, 80)}, ("OFT",), "LyCORIS", None),
        (f"lora_unet_{FLAT}", {"oft_blocks": (2, 4, 80, 80)}, ("BOFT",), "LyCORIS", None),
        (f"unet.{CROSS}", {"lora_A.weight": (8, 768), "lora_B.weight": (320, 8)}, ("LoRA",), "diffusers", 8),
        (f"unet.{CROSS}", {"lora.down.weight": (8, 768), "lora.up.weight": (320, 8)}, ("LoRA",), "old diffusers", 8),
        (f"diffusion_model.{CROSS}", {"lora_A.weight": (8, 768), "lora_B.weight": (320, 8)}, ("LoRA",), "ComfyUI", 8),
        (f"base_model.model.{CROSS}", {"lora_A.weight": (8, 768), "lora_B.weight": (320, 8)}, ("LoRA",), "peft", 8),
        (CROSS, {"lora_A.weight": (8, 768), "lora_B.weight": (320, 8)}, ("LoRA",), "bare", 8),
        (f"lora_unet_{FLAT}", {"on_input": (), "weight": (768,)}, ("IA3",), "LyCORIS", None),
        (f"lora_unet_{FLAT}", {"a1.weight": (8, 2), "a2.weight": (2, 8), "b1.weight": (2,)}, ("GLoRA",), "LyCORIS", 2),
        ("lora_unet_x", {"diff": (3,), "diff_b": (3,)}, ("full",), "LyCORIS", None),
        ("lora_unet_x", {"w_norm": (3,), "b_norm": (3,)}, ("norm",), "LyCORIS", None),
    ],
)  # fmt: skip
def test_kinds_and_styles(
    prefix: str, endings: dict[str, tuple[int, ...]], kinds: tuple[str, ...], style: str, rank: int | None
) -> None:
    found = describe_adapter(header({f"{prefix}.{name}": shape for name, shape in endings.items()}))
    assert (found.kinds, found.key_style, found.rank, found.layers) == (kinds, style, rank, 1)


def test_families_and_components() -> None:
    text = {f"lora_te_text_model_encoder_layers_0_mlp_fc1.{name}": shape for name, shape in LOW.items()}
    found = describe_adapter(
        header({f"lora_unet_{FLAT}.{name}": shape for name, shape in LOW.items()} | text)
    )
    assert found.families == ("sd1",)
    assert found.components == ("denoiser", "text_encoder")
    assert found.layers == 2
    json.dumps(found.to_dict())


def test_textual_inversions() -> None:
    found = describe_adapter(header({"clip_l": (4, 768), "clip_g": (4, 1280)}))
    assert (found.kinds, found.rank, found.families) == (("textual inversion",), 4, ("sdxl",))
    assert describe_adapter(header({"emb_params": (768,)})).rank == 1


def test_other_files_have_no_kinds() -> None:
    assert describe_adapter(header({"something": (3, 4, 5)})).kinds == ()


def test_the_hashes_that_a1111_writes(tmp_path: Path) -> None:
    """A change of the metadata leaves a LoRA's, which is that of the tensors alone."""
    tensors = {"lora_unet_x.lora_down.weight": torch.rand(2, 3)}
    one, other, noted = (tmp_path / f"{name}.safetensors" for name in ("one", "other", "noted"))
    save_file(tensors, one)
    save_file(tensors, other, {"ss_output_name": "x" * 100})
    save_file(tensors, noted, {"sshs_model_hash": "ab" * 32})
    content = one.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    expected = hashlib.sha256(content[8 + length :]).hexdigest()[:12]
    assert lora_hash(one, read_header(one)) == lora_hash(other, read_header(other)) == expected
    assert lora_hash(noted, read_header(noted)) == "abababababab"
    assert embedding_hash(one) == hashlib.sha256(content).hexdigest()[:12]
