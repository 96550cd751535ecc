from __future__ import annotations

from collections.abc import Mapping

import pytest

from safelight.models.checkpoints.tensor_entries import TensorEntry
from safelight.models.controls.architectures import recognise
from safelight.models.controls.ip_adapter import EncoderNeed, describe_ip_adapter, own_name

PLUS = {"image_proj.latents": (1, 16, 768), "image_proj.proj_in.weight": (768, 1280)}
XLABS = "double_blocks.0.processor.ip_adapter_double_stream_k_proj"
FACES = {
    "image_proj.proj.0.weight": (1024, 512),
    "image_proj.proj.2.weight": (3072, 1024),
    "image_proj.norm.weight": (768,),
}


def entries(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorEntry]:
    return {name: TensorEntry("F16", shape, 0) for name, shape in shapes.items()}


def unet(width: int) -> dict[str, tuple[int, ...]]:
    return {"ip_adapter.1.to_k_ip.weight": (320, width), "ip_adapter.1.to_v_ip.weight": (320, width)}


@pytest.mark.parametrize(
    ("shapes", "architecture", "family", "encoder"),
    [
        (unet(768) | {"image_proj.proj.weight": (3072, 1024)}, "ip-adapter", "sd1", ("embedding", 1024)),
        (unet(768) | {"image_proj.proj.weight": (3072, 1280)}, "ip-adapter", "sd1", ("embedding", 1280)),
        (unet(768) | PLUS, "ip-adapter", "sd1", ("features", 1280)),
        (
            unet(768) | {"image_proj.proj.0.weight": (1280, 1280), "image_proj.proj.3.weight": (768,)},
            "ip-adapter",
            "sd1",
            ("features", 1280),
        ),
        (unet(2048) | {"image_proj.proj.weight": (8192, 1280)}, "ip-adapter", "sdxl", ("embedding", 1280)),
        (unet(2048) | PLUS, "ip-adapter", "sdxl", ("features", 1280)),
        (unet(32) | {"image_proj.proj.weight": (128, 24)}, "ip-adapter", "", ("embedding", 24)),
        (
            {
                f"{XLABS}.weight": (3072, 4096),
                f"{XLABS}.bias": (3072,),
                "ip_adapter_proj_model.proj.weight": (16384, 768),
            },
            "flux-ip-adapter",
            "flux",
            ("embedding", 768),
        ),
    ],
)
def test_kinds_by_shapes(
    shapes: Mapping[str, tuple[int, ...]], architecture: str, family: str, encoder: tuple[str, int]
) -> None:
    found = describe_ip_adapter(entries(shapes))
    assert found is not None
    assert (found.architecture, found.family, found.reason) == (architecture, family, "")
    assert found.encoder == EncoderNeed("clip-vision", *encoder)  # type: ignore[arg-type]
    recognised = recognise(entries(shapes))
    assert recognised is not None
    assert (recognised.architecture, recognised.family) == (architecture, family)


def test_that_of_stable_diffusion_3_reads_siglip() -> None:
    shapes = {
        "ip_adapter.0.to_k_ip.weight": (2432, 2432),
        "image_proj.time_embedding.linear_1.weight": (1280, 320),
        "image_proj.proj_in.weight": (1280, 1152),
    }
    found = describe_ip_adapter(entries(shapes))
    assert found is not None
    assert (found.architecture, found.family) == ("sd3-ip-adapter", "sd3")
    assert found.encoder == EncoderNeed("siglip-vision", "features", 1152)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (unet(768) | FACES, "InsightFace"),
        (unet(768) | {"image_proj.perceiver_resampler.proj_in.weight": (768, 1280)}, "InsightFace"),
        (unet(768) | {"ip_adapter.0.to_k_lora.down.weight": (128, 320)} | PLUS, "InsightFace"),
        (unet(4096) | FACES | {"image_proj.proj.0.weight": (1152, 1152)}, "layout for Flux"),
    ],
)
def test_what_cannot_be_used_says_why(shapes: Mapping[str, tuple[int, ...]], says: str) -> None:
    found = describe_ip_adapter(entries(shapes))
    assert found is not None
    assert says in found.reason
    recognised = recognise(entries(shapes))
    assert recognised is not None
    assert recognised.reason == found.reason


def test_other_files_are_none() -> None:
    assert describe_ip_adapter(entries({"a.weight": (2, 2)})) is None
    assert describe_ip_adapter(entries(unet(768))) is None
    assert own_name(f"{XLABS}.bias") == "ip_adapter.0.to_k_ip.bias"
    assert own_name("other.weight") == "other.weight"
