"""The kinds of control networks: how each is told from its tensors, and which modes one of several kinds has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from safelight.models.checkpoints.layouts import CONTROLS
from safelight.models.checkpoints.layouts.controls import AUTHORS_PREFIX
from safelight.models.checkpoints.safetensors_header import TensorEntry
from safelight.models.controls.ip_adapter import describe_ip_adapter
from safelight.models.controls.kinds import FLUX_UNION, XINSIR_UNION, ControlKind

LLLITE_PREFIX = "lllite_unet_"
"""Before the names of the layers that a Control-LLLite changes, in kohya's files."""
LORA_MARKER = "lora_controlnet"
"""An empty tensor that marks a Control-LoRA."""
_NO_MODES: Mapping[ControlKind, int] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A kind of control network.

    Args:
        name: Its identifier.
        title: What people call it, with its article.
        class_name: Its class in diffusers; empty where diffusers has none.
        family: The family that it is for, where its class says it.
        hole: What a network that completes pictures sees where something is to be generated, with pixels from 0 to 1.
        is_ip_adapter: Whether its picture counts as a part of the prompt does, and is no map.
        modes: The kinds of control pictures that one network takes, with the number of each, by the network's name.
    """

    name: str
    title: str
    class_name: str
    family: str = ""
    hole: float = -1.0
    is_ip_adapter: bool = False
    modes: Callable[[str], Mapping[ControlKind, int]] = lambda _: _NO_MODES


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        each.name: each
        for each in (
            Architecture(name="controlnet", title="a ControlNet", class_name="ControlNetModel"),
            Architecture(
                name="controlnet-union",
                title="a union ControlNet",
                class_name="ControlNetUnionModel",
                family="sdxl",
                hole=0.0,
                modes=lambda _: XINSIR_UNION,
            ),
            Architecture(name="reference", title="a reference", class_name=""),
            Architecture(name="ip-adapter", title="an IP-Adapter", class_name="", is_ip_adapter=True),
            Architecture(
                name="flux-ip-adapter",
                title="an IP-Adapter",
                class_name="",
                family="flux",
                is_ip_adapter=True,
            ),
            Architecture(
                name="sd3-ip-adapter", title="an IP-Adapter", class_name="", family="sd3", is_ip_adapter=True
            ),
            Architecture(name="lllite", title="a Control-LLLite", class_name="", family="sdxl"),
            Architecture(name="controlnet-xs", title="a ControlNet-XS", class_name="ControlNetXSAdapter"),
            Architecture(name="control-lora", title="a Control-LoRA", class_name=""),
            Architecture(name="t2i-adapter", title="a T2I-Adapter", class_name="T2IAdapter"),
            Architecture(
                name="sd3-controlnet", title="a ControlNet", class_name="SD3ControlNetModel", family="sd3"
            ),
            Architecture(
                name="flux-controlnet", title="a ControlNet", class_name="FluxControlNetModel", family="flux"
            ),
            Architecture(
                name="flux-controlnet-union",
                title="a union ControlNet",
                class_name="FluxControlNetModel",
                family="flux",
                modes=lambda _: FLUX_UNION,
            ),
            Architecture(
                name="qwen-controlnet",
                title="a ControlNet",
                class_name="QwenImageControlNetModel",
                family="qwen-image",
            ),
            Architecture(
                name="z-image-controlnet",
                title="a ControlNet",
                class_name="ZImageControlNetModel",
                family="z-image",
            ),
            Architecture(
                name="hunyuan-controlnet",
                title="a ControlNet",
                class_name="HunyuanDiT2DControlNetModel",
                family="hunyuan-dit",
            ),
        )
    }
)
"""Every kind by name."""


_LAYOUTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "controlnet-sd1": ("controlnet", "sd1"),
        "controlnet-sd2": ("controlnet", "sd2"),
        "controlnet-sdxl": ("controlnet", "sdxl"),
        "controlnet-union-sdxl": ("controlnet-union", "sdxl"),
        "t2i-adapter-sd1": ("t2i-adapter", "sd1"),
        "t2i-adapter-sdxl": ("t2i-adapter", "sdxl"),
        "controlnet-sd3": ("sd3-controlnet", "sd3"),
        "controlnet-flux": ("flux-controlnet", "flux"),
        "controlnet-union-flux": ("flux-controlnet-union", "flux"),
        "controlnet-qwen-image": ("qwen-controlnet", "qwen-image"),
        "controlnet-z-image": ("z-image-controlnet", "z-image"),
        "controlnet-hunyuan-dit": ("hunyuan-controlnet", "hunyuan-dit"),
    }
)
"""Architecture and family of each layout."""


@dataclass(frozen=True)
class Recognised:
    """A control network among a file's tensors.

    Args:
        architecture: What kind of network it is.
        layout: Its name in ``layouts.NETWORKS``; empty for kinds that have none there.
        family: The family that it is for.
        prefix: What the names of its tensors begin with.
        reason: Why it cannot be used, as the end of a sentence that begins with its name; empty if it can.
    """

    architecture: str
    layout: str
    family: str
    prefix: str = ""
    reason: str = ""


def recognise(tensors: Mapping[str, TensorEntry]) -> Recognised | None:
    """The control network that a file's tensors are; None if they are none."""
    if any(name.startswith(f"{LLLITE_PREFIX}") for name in tensors):
        return Recognised("lllite", "", "sdxl")
    if LORA_MARKER in tensors:
        return _control_lora(tensors)
    if (adapter := describe_ip_adapter(tensors)) is not None:
        return Recognised(adapter.architecture, "", adapter.family, reason=adapter.reason)
    for prefix in ("", AUTHORS_PREFIX):
        shapes = {
            name.removeprefix(prefix): entry.shape
            for name, entry in tensors.items()
            if name.startswith(prefix)
        }
        for layout in CONTROLS:
            if layout.matches(shapes):
                architecture, family = _LAYOUTS[layout.name]
                return Recognised(architecture, layout.name, family, prefix)
    return None


def _control_lora(tensors: Mapping[str, TensorEntry]) -> Recognised:
    """A Control-LoRA, whose family the layers tell that are changed."""
    prefix = AUTHORS_PREFIX if any(name.startswith(AUTHORS_PREFIX) for name in tensors) else ""
    if any(name.startswith(f"{prefix}label_emb.") for name in tensors):
        return Recognised("control-lora", "", "sdxl", prefix)
    projections = (entry.shape for name, entry in tensors.items() if name.endswith(".proj_in.down"))
    is_linear = len(next(projections, ())) == 2
    return Recognised("control-lora", "", "sd2" if is_linear else "sd1", prefix)
