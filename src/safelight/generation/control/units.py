"""ControlNet units: how A1111's extension and Forge write a control, in infotexts and in their API.

In an infotext a unit is ``ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, …"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from safelight.errors import ControlUnsupportedError, PreprocessorUnknownError
from safelight.generation.control.preprocessors import Preprocessor, find_preprocessor
from safelight.generation.record import ControlRef

INFOTEXT_KEY = re.compile(r"ControlNet(?: (\d{1,2}))?")
"""The key of a unit in an infotext; SD.Next's has no number."""
MODES: Mapping[str, int] = MappingProxyType({"balanced": 0, "prompt": 1, "guess": 2})
MODE_LABELS = ("Balanced", "My prompt is more important", "ControlNet is more important")
RESIZE_MODES: Mapping[str, int] = MappingProxyType({"stretch": 0, "crop": 1, "fill": 2})
RESIZE_LABELS = ("Just Resize", "Crop and Resize", "Resize and Fill")
_OLD_RESIZE_LABELS: Mapping[str, int] = MappingProxyType(
    {
        "scale to fit (inner fit)": 1,
        "envelope (outer fit)": 2,
        "inner fit (scale to fit)": 1,
        "outer fit (shrink to fit)": 2,
    }
)
REFERENCE_MODULE = "reference_only"
"""A1111's preprocessor for a reference, which has no model."""
IP_ADAPTER_MODULE = "ip-adapter-auto"
"""A1111's preprocessor that takes the image encoder which an IP-Adapter needs."""
_IP_ADAPTER_MODULES = frozenset(
    {
        *(IP_ADAPTER_MODULE, "ip-adapter_clip_sd15", "ip-adapter_clip_h", "ip-adapter_clip_g"),
        *("ip-adapter_clip_sdxl", "ip-adapter_clip_sdxl_plus_vith"),
        *("clip-vit-h (ipadapter)", "clip-vit-bigg (ipadapter)"),
    }
)
"""Those of A1111's extension and of Forge for one image encoder each; here the adapter's file says which it needs."""
_FACE_MODULES = ("ip-adapter_face_id", "ip-adapter_pulid", "insightface", "instant_id")
_HASH = re.compile(r"\[[0-9a-fA-F]{6,12}\]$")
_NO_NAME = frozenset({"", "none"})


def bare_name(name: str) -> str:
    """A model's name without the hash that A1111 puts behind it; empty for none."""
    bare = _HASH.sub("", name.strip()).strip()
    return "" if bare.casefold() in _NO_NAME else bare


def is_ip_adapter_module(name: str) -> bool:
    """Whether a module reads the picture for an IP-Adapter.

    Raises:
        ControlUnsupportedError: It needs InsightFace's networks.
    """
    module = name.strip().casefold()
    if module.startswith(_FACE_MODULES):
        raise ControlUnsupportedError(
            f"The module {name} needs InsightFace's networks; their licence forbids commercial use, so Safelight does "
            "not use them.",
            hint="Give a plus-face or full-face IP-Adapter, with the module ip-adapter-auto.",
        )
    return module in _IP_ADAPTER_MODULES


def ip_adapter_modules() -> tuple[str, ...]:
    """The modules for IP-Adapters, for menus."""
    listed = sorted(each for each in _IP_ADAPTER_MODULES if each.startswith("ip-adapter_"))
    return (IP_ADAPTER_MODULE, *listed)


def module_of(name: str) -> Preprocessor | None:
    """The preprocessor that a module is; None for none.

    Raises:
        PreprocessorUnknownError: There is no such preprocessor.
    """
    return None if name.strip().casefold() in _NO_NAME else find_preprocessor(name.strip())


def module_name(preprocessor: Preprocessor | None) -> str:
    """What A1111 calls a preprocessor."""
    if preprocessor is None:
        return "none"
    return preprocessor.aliases[0] if preprocessor.aliases else preprocessor.name


def preprocessor_options(
    preprocessor: Preprocessor, resolution: float | None, thresholds: tuple[float | None, float | None]
) -> dict[str, Any]:
    """The fields of a request's preprocessor.

    Args:
        preprocessor: It.
        resolution: A1111's ``processor_res``; none, or a negative one, for that which the picture needs.
        thresholds: A1111's two sliders; negative ones are the defaults.
    """
    given = zip(preprocessor.sliders, thresholds, strict=False)
    parameters = {name: _number(value) for name, value in given if value is not None and value >= 0}
    fields: dict[str, Any] = {"name": preprocessor.name}
    if parameters:
        fields["parameters"] = parameters
    if resolution is not None and resolution >= 64:
        fields["resolution"] = int(resolution)
    return fields


def label_number(value: object, labels: tuple[str, ...]) -> int | None:
    """The number of a mode, which may be given by its label; None for another value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < len(labels) else None
    text = str(value).strip().casefold()
    known = {label.casefold(): number for number, label in enumerate(labels)}
    if labels is RESIZE_LABELS:
        known |= _OLD_RESIZE_LABELS
    return known.get(text)


def name_of(number: int, names: Mapping[str, int]) -> str:
    """Our name of a mode, by its number."""
    return next(name for name, each in names.items() if each == number)


_MODULES: Mapping[str, str] = MappingProxyType(
    {"reference": REFERENCE_MODULE, "ip-adapter": IP_ADAPTER_MODULE}
)
"""What A1111 calls kinds that need no preprocessor."""


def format_unit(control: ControlRef) -> str:
    """A control of a record as a unit in an infotext."""
    options = control.preprocessor
    preprocessor = None if options is None else find_preprocessor(options.name)
    parameters = {} if options is None else options.parameters
    resolution = None if options is None else options.resolution
    sliders = () if preprocessor is None else preprocessor.sliders
    thresholds = {
        f"Threshold {letter}": parameters[name]
        for letter, name in zip("AB", sliders, strict=False)
        if name in parameters
    }
    pairs: dict[str, object] = {
        "Module": _MODULES.get(control.kind or "") or module_name(preprocessor),
        "Model": "None" if control.digest is None else f"{control.name} [{control.digest[:8]}]",
        "Weight": control.weight,
        "Resize Mode": RESIZE_LABELS[RESIZE_MODES[control.resize]],
        **({} if resolution is None else {"Processor Res": resolution}),
        **thresholds,
        "Guidance Start": control.start,
        "Guidance End": control.end,
        "Pixel Perfect": resolution is None,
        "Control Mode": MODE_LABELS[MODES[control.mode]],
        **({} if control.kind is None else {"Control Type": control.kind}),
    }
    return ", ".join(f"{key}: {_text(value)}" for key, value in pairs.items())


def parse_unit(text: str) -> dict[str, str]:
    """The values of a unit in an infotext, by key in lower case; of A1111's older units the keys of the newer ones."""
    return dict(_pairs(text))


def unit_fields(unit: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """The fields of a control, from a unit in an infotext.

    Returns:
        The fields, and what could not be read: key, value and reason.
    """
    fields: dict[str, Any] = {}
    unread: list[tuple[str, str, str]] = []
    if model := bare_name(unit.get("model", "")):
        fields["model"] = model
    if kind := unit.get("control type", ""):
        fields["kind"] = kind
    for key, field in (("weight", "weight"), ("guidance start", "start"), ("guidance end", "end")):
        if (value := unit.get(key)) is not None:
            if (number := _float(value)) is None:
                unread.append((key, value, "It is no number."))
            else:
                fields[field] = number
    for key, field, labels, names in (
        ("resize mode", "resize", RESIZE_LABELS, RESIZE_MODES),
        ("control mode", "mode", MODE_LABELS, MODES),
    ):
        if (value := unit.get(key)) is not None:
            number = label_number(value, labels)
            if number is None:
                unread.append((key, value, f"It is none of {', '.join(labels)}."))
            else:
                fields[field] = name_of(number, names)
    if unit.get("module", "").casefold() == REFERENCE_MODULE:
        return fields | {"kind": "reference"}, unread
    try:
        if is_ip_adapter_module(unit.get("module", "")):
            fields.pop("mode", None)  # the extension has none for these modules
            return fields | {"kind": "ip-adapter"}, unread
        module = module_of(unit.get("module", ""))
    except (PreprocessorUnknownError, ControlUnsupportedError) as error:
        unread.append(("module", unit["module"], error.message))
        module = None
    if module is not None:
        perfect = unit.get("pixel perfect", "").casefold() == "true"
        resolution = None if perfect else _float(unit.get("processor res", ""))
        thresholds = _float(unit.get("threshold a", "")), _float(unit.get("threshold b", ""))
        fields["preprocessor"] = preprocessor_options(module, resolution, thresholds)
    return fields, unread


_OLD_KEYS: Mapping[str, str] = MappingProxyType(
    {"preprocessor": "module", "starting": "guidance start", "ending": "guidance end"}
)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    if found := re.search(r"starting/ending: \(([^,()]*), ([^,()]*)\)", text):
        yield "guidance start", found[1]
        yield "guidance end", found[2]
        text = text.replace(found[0], "")
    if found := re.search(r"preprocessor params: \(([^,()]*), ([^,()]*), ([^,()]*)\)", text):
        yield from zip(("processor res", "threshold a", "threshold b"), found.groups(), strict=True)
        text = text.replace(found[0], "")
    for part in text.split(", "):
        key, colon, value = part.strip(" ,").partition(":")
        if colon:
            key = key.strip().casefold()
            yield _OLD_KEYS.get(key, key), value.strip()


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
