"""Controls on a CUDA device that is not there, in the precisions of a GPU: wrong devices and wrong types raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.fake_cuda import FakeCuda
from tests.generation.conftest import SIDE, to_array
from tests.tiny import controls, ip_adapters

from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.settings import Settings

SHOWN = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
MASK = Image.new("L", (SIDE, SIDE), 255)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Path]) -> Path:
    root = tmp_path_factory.mktemp("controls-home")
    folder = root / "controlnet"
    controls.controlnet(tiny("sd1"), folder / "canny")
    controls.adapter(tiny("sd1"), folder / "sketch")
    adapters = root / "ip_adapters"
    ip_adapters.clip_vision(root / "image_encoders" / "clip")
    ip_adapters.siglip_vision(root / "image_encoders" / "siglip")
    ip_adapters.unet_adapter(tiny("sd1"), adapters / "plus-sd1.safetensors", "plus")
    ip_adapters.flux_adapter(tiny("flux"), adapters / "looking-flux.safetensors")
    ip_adapters.sd3_adapter(tiny("sd3"), adapters / "looking-sd3.safetensors")
    controls.lllite(tiny("sdxl"), folder / "lllite_depth.safetensors")
    small = {"num_layers": 1}
    controls.transformer_control(
        "FluxControlNetModel", tiny("flux"), folder / "flux_pose", **small, num_single_layers=1
    )
    controls.transformer_control("SD3ControlNetModel", tiny("sd3"), folder / "sd3_tile", **small)
    controls.transformer_control(
        "ZImageControlNetModel",
        tiny("z-image"),
        folder / "z_canny",
        control_layers_places=[0, 1],
        control_in_dim=16,
    )
    return root


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")
@pytest.mark.parametrize(
    ("checkpoint", "control"),
    [
        (
            "sd1",
            [
                {"model": "canny", "mask": MASK},
                {"model": "sketch", "mode": "guess"},
                {"kind": "reference"},
                {"model": "plus-sd1", "mask": MASK},
                {"model": "plus-sd1", "weight": 0.5},
            ],
        ),
        pytest.param("flux", [{"model": "looking-flux", "mask": MASK}], marks=pytest.mark.slow),
        pytest.param("sd3", [{"model": "looking-sd3"}], marks=pytest.mark.slow),
        pytest.param("sdxl", [{"model": "lllite_depth"}], marks=pytest.mark.slow),
        pytest.param("flux", [{"model": "flux_pose", "mask": MASK}], marks=pytest.mark.slow),
        pytest.param("sd3", [{"model": "sd3_tile"}] * 2, marks=pytest.mark.slow),
        pytest.param("z-image", [{"model": "z_canny"}], marks=pytest.mark.slow),
    ],
)
def test_controls_compute_on_the_device_of_the_denoiser(
    home: Path, tiny: Callable[[str], Path], cuda: FakeCuda, checkpoint: str, control: list[dict[str, Any]]
) -> None:
    engine = Engine(Settings(home=home, device="cuda"))

    def made(**fields: Any) -> Artifact:
        fields = {
            "prompt": "a cat",
            "seed": 7,
            "steps": 2,
            "width": SIDE,
            "height": SIDE,
            "guidance_scale": 4,
        } | fields
        return next(
            iter(engine.generate(GenerationRequest.parse(checkpoint=str(tiny(checkpoint)), **fields)))
        )

    given = [{"image": SHOWN, **each} for each in control]
    assert np.abs(to_array(made(control=given)).astype(int) - to_array(made())).max() > 0
