from __future__ import annotations

import time

import pytest

from safelight.generation.prompts.inversions import (
    Inversions,
    escape_names,
    escape_required,
    names_in,
    required_names,
)

KNOWN = Inversions({"bad-hands": 2, "bad-hands-5": 3, "by bad artist": 1, "ink": 1})


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a cat", ["a cat"]),
        ("ink", ["", ("ink",), ""]),
        ("a INK, embedding:Ink.pt", ["a ", ("ink",), ", ", ("ink",), ""]),
        (
            "bad-hands-5 bad-hands",
            [
                "",
                ("bad-hands-5 1/3", "bad-hands-5 2/3", "bad-hands-5 3/3"),
                " ",
                ("bad-hands 1/2", "bad-hands 2/2"),
                "",
            ],
        ),
        ("(by bad artist:1.2)", ["(", ("by bad artist",), ":1.2)"]),
        ("drinking inks think", ["drinking inks think"]),
        (r"\ink \embedding:ink", [r"\ink \embedding:ink"]),
    ],
)
def test_names_and_the_text_between_them(prompt: str, parts: list[str | tuple[str, ...]]) -> None:
    marked = KNOWN.mark(prompt)
    found = [
        part if isinstance(part, str) else tuple(map(KNOWN.name_of, part)) for part in KNOWN.split(marked)
    ]
    assert found == parts
    assert KNOWN.mark(marked) == marked


def test_ids_are_negative_and_distinct() -> None:
    ids = [
        each
        for part in KNOWN.split(KNOWN.mark("ink bad-hands by bad artist bad-hands-5"))
        if not isinstance(part, str)
        for each in part
    ]
    assert sorted(ids) == list(range(-7, 0))


def test_marks_that_a_user_writes_are_text() -> None:
    assert list(KNOWN.split("a \U000f0050 b")) == ["a \U000f0050 b"]
    assert list(Inversions().split("a \U000f0000 b")) == ["a \U000f0000 b"]
    assert KNOWN.readable(KNOWN.mark("INK (ink:1.2)")) == "ink (ink:1.2)"


def test_names_that_have_to_be_there() -> None:
    text = r"(embedding:Easy.pt:1.2), embedding:a/b_c-d, \embedding:x, myembedding:y, word embedding: z"
    assert required_names(text) == ["Easy", "a/b_c-d"]
    assert names_in(["ink", "bad", "gone"], "a bad, INK cat") == {"ink", "bad"}


def test_escaped_names_are_words() -> None:
    escaped = escape_names(["ink"], r"ink, a (ink:1.2) \ink")
    assert escaped == r"\ink, a (\ink:1.2) \ink"
    assert list(KNOWN.split(KNOWN.mark(escaped))) == [escaped]
    assert escape_required(r"embedding:a, embedding:b.pt \embedding:c", {"b"}) == (
        r"\embedding:a, embedding:b.pt \embedding:c"
    )


@pytest.mark.parametrize("piece", ["embedding:", "ink", "bad-", "\\", "by bad "])
def test_no_prompt_takes_long(piece: str) -> None:
    prompt = (piece * 10_000)[:10_000]
    started = time.perf_counter()
    required_names(prompt)
    list(KNOWN.split(KNOWN.mark(prompt)))
    assert time.perf_counter() - started < 0.5
