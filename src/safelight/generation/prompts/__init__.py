"""Prompts: parsing, schedules, styles, wildcards and text encoding.

This package imports no torch. Its module ``encode`` does, so import that module directly.
"""

from safelight.generation.prompts.explain import PromptExplanation, explain_prompt
from safelight.generation.prompts.grammar import parse_prompt
from safelight.generation.prompts.schedule import Phase, Segment, Segments, prompt_phases, plain_text, segments_at
from safelight.generation.prompts.styles import PromptStyle, apply_styles, select_styles, load_styles
from safelight.generation.prompts.tree import Break, ParsedPrompt, unparse
from safelight.generation.prompts.wildcards import expand_wildcards

__all__ = [
    "Break",
    "PromptExplanation",
    "ParsedPrompt",
    "Phase",
    "PromptStyle",
    "Segment",
    "Segments",
    "apply_styles",
    "expand_wildcards",
    "explain_prompt",
    "select_styles",
    "load_styles",
    "parse_prompt",
    "prompt_phases",
    "plain_text",
    "segments_at",
    "unparse",
]
