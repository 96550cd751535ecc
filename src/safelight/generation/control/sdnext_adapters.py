"""IP-Adapters as SD.Next writes them: its names of published ones, and its infotext."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

INFOTEXT_KEY = "IP Adapter"
"""The key in SD.Next's infotexts: ``name:scale:start:end:crop``, several with semicolons."""
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "base": "ip-adapter_sd15",
        "base vit-g": "ip-adapter_sd15_vit-G",
        "light": "ip-adapter_sd15_light",
        "plus": "ip-adapter-plus_sd15",
        "plus face": "ip-adapter-plus-face_sd15",
        "full face": "ip-adapter-full-face_sd15",
        "ostris composition vit-h": "ip_plus_composition_sd15",
        "base sdxl": "ip-adapter_sdxl",
        "base vit-h sdxl": "ip-adapter_sdxl_vit-h",
        "plus vit-h sdxl": "ip-adapter-plus_sdxl_vit-h",
        "plus face vit-h sdxl": "ip-adapter-plus-face_sdxl_vit-h",
        "ostris composition vit-h sdxl": "ip_plus_composition_sdxl",
    }
)
"""The files that SD.Next's names stand for."""


def model_of(name: str) -> str:
    """The model that a name of SD.Next's stands for; the name itself for others."""
    return _FILES.get(name.strip().casefold(), name.strip())


def parse_ip_adapters(text: str) -> list[dict[str, Any]] | None:
    """The fields of the controls that an infotext names; None for text that cannot be read."""
    controls = []
    for part in text.split(";"):
        name, *values = part.strip().split(":")
        try:
            numbers = [float(value) for value in values[:3]]
        except ValueError:
            return None
        if not name or not numbers:
            return None
        fields = dict(zip(("weight", "start", "end"), numbers, strict=False))
        controls.append({"kind": "ip-adapter", "model": model_of(name), **fields})
    return controls
