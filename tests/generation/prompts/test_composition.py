from __future__ import annotations

import pytest

from safelight.errors import PromptError
from safelight.generation.prompts.composition import PromptPart, prompt_parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a cat", [("a cat", 1)]),
        ("a cat :0.5", [("a cat :0.5", 1)]),
        ("a cat AND a dog", [("a cat", 1), ("a dog", 1)]),
        ("a cat :1.2AND a dog:-.5 AND (red:1.3)", [("a cat :1.2AND a dog", -0.5), ("(red:1.3)", 1)]),
        ("a cat :1.2 AND a dog :  2", [("a cat", 1.2), ("a dog", 2)]),
        ("[a AND b:0.5]", [("[a", 1), ("b:0.5]", 1)]),
        (r"ROCK \AND ROLL AND drums\:0.5", [(r"ROCK \AND ROLL", 1), (r"drums\:0.5", 1)]),
        ("AND", [("", 1), ("", 1)]),
        ("SAND ANDROID", [("SAND ANDROID", 1)]),
    ],
)
def test_parts_and_weights(text: str, parts: list[tuple[str, float]]) -> None:
    assert prompt_parts(text) == tuple(PromptPart(*part) for part in parts)


def test_too_many_parts_and_too_large_weights_are_refused() -> None:
    with pytest.raises(PromptError, match="17 parts"):
        prompt_parts(" AND ".join("a" for _ in range(17)))
    with pytest.raises(PromptError, match="weight 101"):
        prompt_parts("a AND b :101")
