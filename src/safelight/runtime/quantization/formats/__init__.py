"""Quantization formats, one module for each kind."""

from safelight.runtime.quantization.formats.codebooks import Codebook4
from safelight.runtime.quantization.formats.floats import Float8
from safelight.runtime.quantization.formats.format import Format, Parts
from safelight.runtime.quantization.formats.gguf import Gguf
from safelight.runtime.quantization.formats.integers import Int4, Int8

__all__ = ["Codebook4", "Float8", "Format", "Gguf", "Int4", "Int8", "Parts"]
