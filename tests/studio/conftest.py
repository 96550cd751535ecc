"""A studio that generates with a tiny checkpoint, and policies that allow everything or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import controls, ip_adapters

from safelight.moderation import Policy
from safelight.settings import Settings
from safelight.studio import Studio


def write_policy(name: str, review: float, block: float) -> Policy:
    return Policy.parse(
        f'name = "{name}"\nversion = "1"\nsafe = ["sfw"]\n'
        f"[unsafe]\nnsfw = {{ review = {review}, block = {block} }}\n"
    )


ANYTHING = write_policy("anything", 1.0, 1.0)
NOTHING = write_policy("nothing", 0.0, 0.0)
DOUBT = write_policy("doubt", 0.0, 1.0)


@pytest.fixture(scope="session")
def drawing_settings(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Path]) -> Settings:
    home = tmp_path_factory.mktemp("studio-home")
    (home / "wildcards").mkdir()
    (home / "wildcards" / "colours.txt").write_text("red\ngreen\nblue\nyellow\n")
    policy = home / "anything.toml"
    policy.write_text(
        'name = "anything"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 1.0, block = 1.0 }\n'
    )
    return Settings(
        home=home,
        backend="onnxruntime",
        precision="fp32",
        device="cpu",
        checkpoint=str(tiny("sd1")),
        policy=str(policy),
    )


@pytest.fixture(scope="session")
def drawing_studio(drawing_settings: Settings) -> Studio:
    return Studio(drawing_settings)


@pytest.fixture(scope="session")
def drawing_control(drawing_settings: Settings, tiny: Callable[[str], Path]) -> str:
    """The name of a tiny ControlNet for the studio's checkpoint."""
    folder = drawing_settings.home / "controlnet" / "tiny_canny"
    if not folder.exists():
        controls.controlnet(tiny("sd1"), folder)
    return folder.name


@pytest.fixture(scope="session")
def drawing_ip_adapter(drawing_settings: Settings, tiny: Callable[[str], Path]) -> str:
    """The name of a tiny IP-Adapter for the studio's checkpoint, whose image encoder is there too."""
    path = drawing_settings.home / "ip_adapters" / "tiny_looking.safetensors"
    if not path.exists():
        ip_adapters.unet_adapter(tiny("sd1"), path)
        ip_adapters.clip_vision(drawing_settings.home / "image_encoders" / "tiny-clip")
    return path.stem
