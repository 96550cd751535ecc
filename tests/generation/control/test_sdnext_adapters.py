from __future__ import annotations

import pytest

from safelight.generation.control.sdnext_adapters import model_of, parse_ip_adapters


def test_the_adapters_of_an_infotext() -> None:
    found = parse_ip_adapters("Plus Face:0.7:0.0:0.8:False;my-adapter:1")
    assert found == [
        {"kind": "ip-adapter", "model": "ip-adapter-plus-face_sd15", "weight": 0.7, "start": 0.0, "end": 0.8},
        {"kind": "ip-adapter", "model": "my-adapter", "weight": 1.0},
    ]


@pytest.mark.parametrize("text", ["", "Base", "Base:much", ":1"])
def test_what_cannot_be_read(text: str) -> None:
    assert parse_ip_adapters(text) is None


def test_names_of_others_stay() -> None:
    assert model_of(" Base ViT-H SDXL ") == "ip-adapter_sdxl_vit-h"
    assert model_of("ip-adapter_sdxl") == "ip-adapter_sdxl"
