"""What pictures take: counted with the pipelines of every family, at real sizes and without any memory for weights."""

from __future__ import annotations

import json

import pytest

from safelight.generation.memory_planning import picture_cost, planned_precisions, published_checkpoint
from safelight.generation.plan import make_plan
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.empty_networks import (
    published_families,
    published_identity,
    published_networks,
    published_title,
)
from safelight.models.families import FAMILIES
from safelight.runtime.memory_plan.planner import PictureCost
from safelight.settings import Settings

PARAMETERS = {  # in billions, as published
    "sd1": {"unet": 0.86, "text_encoder": 0.123, "vae": 0.084},
    "sdxl": {"unet": 2.57, "text_encoder_2": 0.695},
    "sd3": {"transformer": 2.03, "text_encoder_3": 4.76},
    "sd3-35-large": {"transformer": 8.1, "text_encoder_3": 4.76},
    "flux": {"transformer": 11.9, "text_encoder_2": 4.76},
    "flux2": {"transformer": 32.0, "text_encoder": 24.0},
    "flux2-klein": {"transformer": 3.9, "text_encoder": 4.02},
    "qwen-image": {"transformer": 20.4, "text_encoder": 8.29},
    "z-image": {"transformer": 6.15, "text_encoder": 4.02},
    "sana": {"transformer": 1.6, "text_encoder": 2.61},
    "lumina2": {"transformer": 2.6, "text_encoder": 2.61},
    "auraflow": {"transformer": 6.8},
    "chroma": {"transformer": 8.9, "text_encoder": 4.76},
    "pixart-sigma": {"transformer": 0.61},
    "hunyuan-dit": {"transformer": 1.5},
    "kolors": {"unet": 2.58, "text_encoder": 6.24},
    "cogview4": {"transformer": 6.37, "text_encoder": 8.8},
    "sana-sprint": {"transformer": 1.6},
    "hidream": {"transformer": 17.1, "text_encoder_4": 8.03},
    "krea2": {"transformer": 12.8, "text_encoder": 4.44},
    "ernie-image": {"transformer": 8.0, "text_encoder": 3.85},
    "kandinsky5": {"transformer": 6.0, "text_encoder": 8.29},
    "hunyuan-image": {"transformer": 17.4, "text_encoder": 8.29},
    "qwen-image-21": {"transformer": 7.1, "text_encoder": 8.77},
}


def counted(family: str, side: int, kind: str = "cuda", **fields: object) -> PictureCost:
    checkpoint = published_checkpoint(family)
    request = GenerationRequest(prompt="", width=side, height=side, **fields)
    plan = make_plan(request, checkpoint.family, checkpoint.scheduler, native_side=side)
    precisions = planned_precisions(Settings(), checkpoint.family, kind)
    return picture_cost(checkpoint, plan, kind, precisions, None)


@pytest.mark.parametrize("family", published_families())
def test_networks_have_their_published_sizes(family: str) -> None:
    networks = published_networks(family)
    for name, billions in PARAMETERS.get(family, {}).items():
        count = sum(parameter.numel() for parameter in networks[name].parameters())
        assert count / 1e9 == pytest.approx(billions, rel=0.03), name


@pytest.mark.parametrize("family", ["sdxl-playground", "flux-fill", "hidream-fast", "z-image-turbo"])
def test_variants_have_the_networks_of_their_architecture(family: str) -> None:
    title = "Playground 2.5" if family == "sdxl-playground" else FAMILIES[family].title
    assert published_title(family) == title
    own, usual = (json.loads(published_identity(name)) for name in (family, FAMILIES[family].key))
    if family == "flux-fill":
        usual["transformer"]["config"] |= {"in_channels": 384, "out_channels": 64}
    assert own["vae"] == usual["vae"]
    assert own[FAMILIES[family].denoiser] == usual[FAMILIES[family].denoiser]


@pytest.mark.parametrize(("family", "side"), [("sd1", 512), ("flux", 1024)])
def test_a_picture_is_counted_at_its_real_size(family: str, side: int) -> None:
    cost = counted(family, side)
    stages = {stage.name: stage for stage in cost.stages}
    assert list(stages)[-2:] == ["denoise", "decode"]
    # the decoder's last block: three activations of 256 channels at full size
    assert stages["decode"].activations == pytest.approx(3 * side * side * 256 * 2, rel=0.02)
    assert stages["denoise"].calls == FAMILIES[family].steps
    assert 0.05e9 < stages["denoise"].activations < 0.6e9
