"""Prompts: parsing, schedules, styles, wildcards and text encoding.

This package imports no torch. Its module ``encode`` does, so import that module directly.
"""

from safelight.generation.prompts.explain import PromptExplanation, explain_prompt
from safelight.generation.prompts.grammar import parse_prompt
from safelight.generation.prompts.schedule import (
    Phase,
    Segment,
    Segments,
    plain_text,
    prompt_phases,
    segments_at,
)
from safelight.generation.prompts.styles import PromptStyle, apply_styles, load_styles, select_styles
from safelight.generation.prompts.tree import Break, ParsedPrompt, unparse
from safelight.generation.prompts.wildcards import expand_wildcards

__all__ = [
    "Break",
    "ParsedPrompt",
    "Phase",
    "PromptExplanation",
    "PromptStyle",
    "Segment",
    "Segments",
    "apply_styles",
    "expand_wildcards",
    "explain_prompt",
    "load_styles",
    "parse_prompt",
    "plain_text",
    "prompt_phases",
    "segments_at",
    "select_styles",
    "unparse",
]
