from __future__ import annotations

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.torch import save_file


def test_the_starter_in_eight_bits(safelight, home):
    ran = safelight(
        "models", "quantize", "starter", "--to", "int8", "--out", "small", "--pictures", "1", "--json"
    )
    assert ran.status == 0
    report = ran.json_body
    assert report["psnr"]["least"] > 40
    assert report["size"] < 0.65 * report["original_size"]
    assert report["layers"]["int8"] > 100
    assert report["seconds_per_step"]["quantized"] > 0
    assert "100 % of" in ran.err
    shown = safelight("models", "show", "small", "--json").json_body
    assert (shown["precision"], shown["family"]) == ("int8", "sd1")
    assert "int8" in safelight("models", "list").out
    again = safelight("models", "quantize", "starter", "--to", "int8", "--out", "small", "--json")
    assert again.json_body["error"]["code"] == "output.exists"
    once_more = safelight("models", "quantize", "small", "--to", "int4", "--json")
    assert "quantized already" in once_more.json_body["error"]["message"]
    assert sorted(path.name for path in (home / "checkpoints").iterdir()) == ["small"]


def test_what_cannot_be_quantized(safelight, home, tmp_path):
    assert safelight("models", "quantize", "nothing", "--to", "int8", "--json").status == 2
    (home / "checkpoints").mkdir(exist_ok=True)
    lora = {
        "lora_unet_a.lora_down.weight": torch.zeros(4, 8),
        "lora_unet_a.lora_up.weight": torch.zeros(8, 4),
    }
    save_file(lora, home / "checkpoints" / "style.safetensors")
    ran = safelight("models", "quantize", "style", "--to", "int8", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"].startswith("checkpoint.")
    assert safelight("models", "quantize", "starter", "--to", "int3").status == 2
    assert safelight("models", "quantize", "starter", "--to", "int8", "--out", "../x").status == 2


def test_a_gguf_file_is_shown_with_its_format(safelight, tmp_path):
    path = tmp_path / "flux-Q8_0.gguf"
    writer = GGUFWriter(path, "flux")
    writer.add_tensor("double_blocks.0.img_attn.norm.key_norm.scale", np.zeros(8, np.float32))
    packed = np.zeros((4, 34), np.uint8)
    writer.add_tensor("double_blocks.0.img_attn.qkv.weight", packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shown = safelight("models", "show", str(path), "--json").json_body
    assert (shown["type"], shown["family"]) == ("denoiser", "flux")
    assert shown["precisions"] == {"q8_0": 136, "fp32": 32}
    assert shown["metadata"]["general.architecture"] == "flux"
