"""Prompts: parsing, schedules, styles, wildcards and text encoding.

This package imports no torch. Its module ``encode`` does, so import that module directly.
"""

from safelight.generation.prompts.explain import Explanation, explain
from safelight.generation.prompts.grammar import parse
from safelight.generation.prompts.schedule import Phase, Segment, Segments, phases, plain_text, segments_at
from safelight.generation.prompts.styles import PromptStyle, apply_styles, find_styles, load_styles
from safelight.generation.prompts.tree import Break, ParsedPrompt, unparse
from safelight.generation.prompts.wildcards import expand

__all__ = [
    "Break",
    "Explanation",
    "ParsedPrompt",
    "Phase",
    "PromptStyle",
    "Segment",
    "Segments",
    "apply_styles",
    "expand",
    "explain",
    "find_styles",
    "load_styles",
    "parse",
    "phases",
    "plain_text",
    "segments_at",
    "unparse",
]
