from __future__ import annotations

from pathlib import Path

import pytest

from safelight.errors import UpscalerUnknownError
from safelight.generation.upscaling.registry import UpscalerInfo, find_upscalers
from safelight.server.api.upscaler_names import display_name, find_upscaler, hires_upscaler, upscaler_rows

KNOWN = [
    *find_upscalers(Path("/nowhere")),
    UpscalerInfo("4x_Sharp", "network", Path("/models/4x_Sharp.safetensors")),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "latent"),
        ("Latent", "latent"),
        ("Latent Bilinear", "latent"),
        ("None", "lanczos"),
        ("Lanczos", "lanczos"),
        ("Nearest", "nearest"),
        ("Resize Bicubic", "bicubic"),
        ("4x_sharp", "4x_Sharp"),
    ],
)
def test_names_for_a_second_pass(name: str | None, expected: str) -> None:
    assert hires_upscaler(name, KNOWN) == expected


@pytest.mark.parametrize(
    "name", ["R-ESRGAN 4x+", "Latent (antialiased)", "/models/4x_Sharp.safetensors", "../x"]
)
def test_an_unknown_upscaler_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UpscalerUnknownError) as caught:
        hires_upscaler(name, KNOWN)
    assert "Latent, Nearest, Bilinear, Bicubic, Lanczos, starter-2x, 4x_Sharp" in caught.value.hint


def test_latent_upscaling_only_in_a_second_pass() -> None:
    with pytest.raises(UpscalerUnknownError):
        find_upscaler("Latent", KNOWN)


def test_listed_names_are_accepted_and_show_no_paths() -> None:
    listed = upscaler_rows(KNOWN)
    assert listed[0]["name"] == "None"
    assert [find_upscaler(str(row["name"]), KNOWN) for row in listed[1:]] == [each.name for each in KNOWN]
    assert all(row["model_path"] is None for row in listed)
    assert display_name(KNOWN[-1]) == "4x_Sharp"


def test_each_upscaler_has_its_own_factor(tmp_path: Path) -> None:
    (tmp_path / "upscalers").mkdir()
    (tmp_path / "upscalers" / "broken.safetensors").write_bytes(b"x")
    scales = {row["name"]: row["scale"] for row in upscaler_rows(find_upscalers(tmp_path))}
    assert scales == {
        "None": 1.0,
        **dict.fromkeys(["Nearest", "Bilinear", "Bicubic", "Lanczos"], 4.0),  # A1111's
        "starter-2x": 2.0,
        "broken": None,
    }
