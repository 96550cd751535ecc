"""Quantization formats, one module for each kind."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.runtime.quantization.formats.codebooks import Codebook4
from safelight.runtime.quantization.formats.floats import Float8
from safelight.runtime.quantization.formats.format import Format, Parts
from safelight.runtime.quantization.formats.gguf import Gguf
from safelight.runtime.quantization.formats.integers import Int4, Int8

FORMATS: Mapping[str, type[Format]] = {kind.name: kind for kind in (Int8, Int4, Float8, Codebook4, Gguf)}
"""The formats by name."""

__all__ = ["FORMATS", "Codebook4", "Float8", "Format", "Gguf", "Int4", "Int8", "Parts", "build_format"]


def build_format(name: str, options: Mapping[str, object]) -> Format:
    """A format by its name and the arguments of its class.

    Raises:
        ValueError: There is no such format, or it has no such arguments.
    """
    try:
        return FORMATS[name](**options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"there is no quantization {name!r} with {dict(options)}") from error
