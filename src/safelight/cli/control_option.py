"""The option ``--control``: a picture that steers the generation, as text."""

from __future__ import annotations

import json
import re
from typing import Any

from safelight.errors import UsageError

_OPTION = re.compile(
    r"(?P<what>[^=@:]+)(?:@(?P<preprocessor>[^=:@]+))?(?::(?P<weight>[0-9.]+))?=(?P<image>.*)"
)


def parse_control(text: str) -> dict[str, Any]:
    """The fields of a control.

    Args:
        text: ``KIND[@PREPROCESSOR][:WEIGHT]=IMAGE``, where the name of a model may take the place of the kind and the
            image may be empty for the initial picture; or all fields as JSON.

    Raises:
        UsageError: It is neither.
    """
    from safelight.models.controls.kinds import KINDS, parse_kind

    if text.lstrip().startswith("{"):
        return fields_from_json("--control", text)
    found = _OPTION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--control {text}: give KIND=IMAGE, as in canny=edges.png or canny@canny:0.8=photo.jpg.",
            hint=f"Kinds are {', '.join(KINDS)}; the name of a model works too.",
        )
    kind = parse_kind(found["what"])
    fields: dict[str, Any] = {"kind": kind} if kind in KINDS else {"model": found["what"]}
    if found["image"]:
        fields["image"] = found["image"]
    if found["preprocessor"]:
        fields["preprocessor"] = {"name": found["preprocessor"]}
    if found["weight"]:
        fields["weight"] = _weight(text, found["weight"])
    return fields


def fields_from_json(option: str, text: str) -> dict[str, Any]:
    """The fields of an option's value that is a JSON object.

    Raises:
        UsageError: It is none.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option} {text}: it is not JSON: {error}.") from error
    return fields


def _weight(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError as error:
        raise UsageError(f"--control {text}: {number} is no weight.") from error
