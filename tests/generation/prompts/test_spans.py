from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import PromptError
from safelight.generation.prompts import parse_prompt
from safelight.generation.prompts.spans import weighted_spans
from safelight.generation.prompts.tree import Text


def weighted_slices(text: str) -> list[tuple[str, float]]:
    """The weighted texts as JavaScript would slice them, with their weights."""
    units = text.encode("utf-16-le")
    return [
        (units[2 * span.start : 2 * span.end].decode("utf-16-le"), span.weight)
        for span in weighted_spans(parse_prompt(text))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a cat", []),
        ("a (cat), sitting", [("cat", 1.1)]),
        ("a [cat]", [("cat", 0.909091)]),
        ("(cat:1.3) and (dog : 0.5 )", [("cat", 1.3), ("dog ", 0.5)]),
        ("(cat:1)", []),
        ("[(cat)]", []),
        ("🐈 (猫:1.2) 🐈‍⬛(é)", [("猫", 1.2), ("é", 1.1)]),
        ("(🐈:1.2)", [("🐈", 1.2)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 3.0), (" c", 1.5)]),
        ("(((a)))", [("a", 1.331)]),
        (r"\(a\) (b\)c:1.2)", [(r"b\)c", 1.2)]),
        ("(a: b)", [("a: b", 1.1)]),
        ("(a BREAK b:1.2) c", [("a ", 1.2), (" b", 1.2)]),
        ("[a:(b:1.5):0.5] [(c):d:3]", [("b", 1.5), ("c", 1.1)]),
        ("[(a)|b|(c:2)]", [("a", 1.1), ("c", 2.0)]),
        ("(a", [("a", 1.1)]),
        ("a) (b", [("b", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), (" c", 0.909091)]),
        ("(__animals__:1.2), {(red)|blue}", [("__animals__", 1.2), ("red", 1.1)]),
        ("()", []),
    ],
)
def test_weighted_words(text: str, expected: list[tuple[str, float]]) -> None:
    assert weighted_slices(text) == expected


@given(st.text(st.sampled_from("ab ()[]:|\\1.🐈é{}_\nBREAK"), max_size=60))
def test_spans_lie_within_the_text(text: str) -> None:
    try:
        parsed = parse_prompt(text)
    except PromptError:
        return
    end = 0
    for span in weighted_spans(parsed):
        assert end <= span.start < span.end
        assert 0 <= span.weight <= 100
        end = span.end
    assert end <= len(text.encode("utf-16-le")) // 2


@given(st.text(st.sampled_from("ab ()[]:|\\1.🐈é"), max_size=60))
def test_words_lie_where_they_were_written(text: str) -> None:
    try:
        parsed = parse_prompt(text)
    except PromptError:
        return

    def check(nodes: object) -> None:
        if isinstance(nodes, Text):
            written = text[nodes.start : nodes.end]
            plain, at = "", 0
            while at < len(written):
                at += written[at] == "\\" and at + 1 < len(written)
                plain, at = plain + written[at], at + 1
            assert plain == nodes.text
        elif isinstance(nodes, tuple):
            for node in nodes:
                check(node)
        else:
            for name in ("children", "before", "after", "options"):
                check(getattr(nodes, name, ()))

    check(parsed.tree)
