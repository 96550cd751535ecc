"""The option ``--region``: a part of the picture with a prompt of its own, as text."""

from __future__ import annotations

import re
from typing import Any

from safelight.cli.control_option import fields_from_json
from safelight.errors import UsageError

_OPTION = re.compile(r"(?P<mask>[^=]+?)(?::(?P<weight>[0-9.]+))?=(?P<prompt>.*)", re.DOTALL)


def parse_region(text: str) -> dict[str, Any]:
    """The fields of a region.

    Args:
        text: ``MASK[:WEIGHT]=PROMPT``, where MASK is a picture; or all fields as JSON.

    Raises:
        UsageError: It is neither.
    """
    if text.lstrip().startswith("{"):
        return fields_from_json("--region", text)
    found = _OPTION.fullmatch(text)
    if found is None:
        raise UsageError(f"--region {text}: give MASK=PROMPT, as in left.png='a red apple'.")
    fields = {"mask": found["mask"], "prompt": found["prompt"]}
    if found["weight"]:
        fields["weight"] = found["weight"]
    return fields
