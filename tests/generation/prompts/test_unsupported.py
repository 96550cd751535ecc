from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import PromptUnsupportedError
from safelight.generation.prompts import parse_prompt, plain_text
from safelight.generation.prompts.unsupported import (
    check_supported,
    distinct_texts,
    escape_unsupported,
    find_unsupported,
    left_out_notes,
    remove_unsupported,
)

COMPOSED = "composed prompts, which only the prompt of a checkpoint with classifier-free guidance has"
PIECES = st.sampled_from(
    [
        *(
            "<lora:a:1>",
            "<lyco:b>",
            "<net:a:1>",
            "<",
            ">",
            ":",
            "AND",
            " AND ",
            "embedding:x",
            "\\",
            "(",
            ")",
            "[",
            "]",
        ),
        *("a cat, ", " :0.5 ", "1.2", "{a|b}", "é", "\n"),
    ]
)
PROMPTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize(
    ("prompt", "found", "left"),
    [
        ("a red apple", [], "a red apple"),
        ("a <net:ink:0.8> cat", ["<net:ink:0.8>"], "a  cat"),
        ("<Net:ink><hyper:my style, v2:te=0.5>cat", ["<Net:ink>", "<hyper:my style, v2:te=0.5>"], "cat"),
        ("<hypernet:paint:1> cat", ["<hypernet:paint:1>"], " cat"),
        ("<segment:face> cat", ["<segment:face>"], " cat"),
        ("[a:<net:x:1>:0.5] b", ["<net:x:1>"], "[a::0.5] b"),
        ("a cat AND a dog", ["AND"], "a cat, a dog"),
        ("a cat :1.2 AND a dog, AND a (bird:1.1):-.5", ["AND", "AND"], "a cat, a dog, a (bird:1.1)"),
        ("ROCK AND ROLL", ["AND"], "ROCK, ROLL"),
        ("AND", ["AND"], ""),
        ("(a AND b:1.2)", ["AND"], "(a, b:1.2)"),
        # Similar text that is not unsupported.
        ("a <lora:ink:0.8> <LyCO:my style>", [], "a <lora:ink:0.8> <LyCO:my style>"),
        (r"\<net:ink:1> \AND", [], r"\<net:ink:1> \AND"),
        ("I <3 you, a < b > c, <b>, <:x>, <lora:ink", [], "I <3 you, a < b > c, <b>, <:x>, <lora:ink"),
        ("rock and roll, SAND, ANDROID, AND_PROMPT", [], "rock and roll, SAND, ANDROID, AND_PROMPT"),
        ("embedding:x", [], "embedding:x"),
        ("a cat :1.2", [], "a cat :1.2"),
    ],
)
def test_found_parts_and_the_remaining_text(prompt: str, found: list[str], left: str) -> None:
    parts = find_unsupported(prompt, composes=False)
    assert [part.text for part in parts] == found
    assert all(prompt[part.start : part.end] == part.text for part in parts)
    assert remove_unsupported(prompt, composes=False) == left


def test_composed_prompts_are_for_prompts_of_checkpoints_with_guidance() -> None:
    prompt = "a cat AND a <net:x:1> dog :0.5"
    assert [part.text for part in find_unsupported(prompt)] == ["<net:x:1>"]
    assert remove_unsupported(prompt) == "a cat AND a  dog :0.5"
    assert remove_unsupported(prompt, negative=True) == "a cat, a  dog"
    assert escape_unsupported(prompt, composes=True) == r"a cat AND a \<net:x:1> dog :0.5"


def test_removing_a_part_creates_no_other() -> None:
    left = remove_unsupported("<ne<net:x:1>t:y:1>")
    assert (left, find_unsupported(left)) == (r"\<net:y:1>", [])


def test_adapters_are_not_for_negative_prompts() -> None:
    prompt = "a <lora:ink:0.8> <lyco:oil>"
    assert [part.text for part in find_unsupported(prompt, negative=True)] == ["<lora:ink:0.8>", "<lyco:oil>"]
    assert remove_unsupported(prompt, negative=True) == "a  "
    with pytest.raises(PromptUnsupportedError, match="asks for an adapter, which is written into the prompt"):
        check_supported(prompt, "negative prompt", "negative_prompt", negative=True)


@given(PROMPTS)
def test_nothing_is_found_in_the_remaining_text(prompt: str) -> None:
    left = remove_unsupported(prompt, composes=False)
    assert find_unsupported(left, composes=False) == []
    assert remove_unsupported(left, composes=False) == left
    check_supported(left, "prompt", composes=False)


@given(PROMPTS)
def test_escaped_parts_are_read_literally_as_in_older_versions(prompt: str) -> None:
    written = escape_unsupported(prompt)
    assert find_unsupported(written, negative=True) == []
    assert parse_prompt(written).tree == parse_prompt(prompt).tree
    assert escape_unsupported(written) == written


@pytest.mark.parametrize(
    ("prompt", "message", "hint"),
    [
        (
            "a <net:ink:1> cat",
            "The prompt has <net:ink:1> at character 2, which asks for a network",
            r"\<net:ink:1>",
        ),
        ("<hypernet:x:1>", "a hypernetwork", r"\<hypernet:x:1>"),
        ("<wobble:x>", "a network", r"\<wobble:x>"),
        (
            "ROCK AND ROLL",
            "AND at character 5, which asks for composed prompts, which only the prompt",
            r"small letters \(and\)",
        ),
    ],
)
def test_a_refusal_names_the_part_its_position_and_the_alternative(
    prompt: str, message: str, hint: str
) -> None:
    with pytest.raises(PromptUnsupportedError) as caught:
        check_supported(prompt, "prompt", composes=False)
    assert message in caught.value.message
    assert hint.replace("\\(", "(").replace("\\)", ")") in caught.value.hint
    (escaped,) = [part for part in caught.value.hint.split(": ") if part.startswith("\\")]
    assert plain_text(parse_prompt(escaped), 0, 1) == escaped[1:], "written as the hint says, it is words"
    check_supported(escaped, "prompt", composes=False)


def test_a_refusal_names_the_other_parts() -> None:
    with pytest.raises(PromptUnsupportedError, match="Likewise: AND, <net:b:1>"):
        check_supported("<net:a:1> AND <net:b:1> AND <net:a:1>", "prompt", composes=False)
    with pytest.raises(PromptUnsupportedError) as caught:
        check_supported("".join(f"<net:{'x' * 500}{number}:1>" for number in range(18)), "prompt")
    assert len(caught.value.message + caught.value.hint) < 1000


def test_each_part_is_noted_once() -> None:
    texts = distinct_texts(find_unsupported("<net:a:1> x AND y AND <net:a:1>", composes=False))
    assert texts == ("<net:a:1>", "AND")
    assert left_out_notes(texts) == (
        "<net:a:1> was left out: it asks for a network, and none is loaded here.",
        f"AND was left out: it asks for {COMPOSED}.",
    )


@pytest.mark.parametrize("piece", ["<a:", "<", "<a", ":1", " ", "AND ", "embedding:", "\\", ":1 AND "])
def test_no_prompt_takes_long(piece: str) -> None:
    prompt = (piece * 10_000)[:10_000] + "AND"
    started = time.perf_counter()
    remove_unsupported(prompt, composes=False)
    assert time.perf_counter() - started < 0.5
