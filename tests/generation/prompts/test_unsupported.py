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

PIECES = st.sampled_from(
    [
        *("<lora:a:1>", "<lyco:b>", "<", ">", ":", "AND", " AND ", "embedding:x", "\\", "(", ")", "[", "]"),
        *("a cat, ", " :0.5 ", "1.2", "{a|b}", "é", "\n"),
    ]
)
PROMPTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize(
    ("prompt", "found", "left"),
    [
        ("a red apple", [], "a red apple"),
        ("a <lora:ink:0.8> cat", ["<lora:ink:0.8>"], "a  cat"),
        (
            "<LoRA:ink><lyco:my style, v2:te=0.5:unet=1>cat",
            ["<LoRA:ink>", "<lyco:my style, v2:te=0.5:unet=1>"],
            "cat",
        ),
        ("<hypernet:paint:1> cat", ["<hypernet:paint:1>"], " cat"),
        ("<segment:face> cat", ["<segment:face>"], " cat"),
        ("[a:<lora:x:1>:0.5] b", ["<lora:x:1>"], "[a::0.5] b"),
        ("(embedding:EasyNegative.pt:1.2), ugly", ["embedding:EasyNegative.pt"], "(:1.2), ugly"),
        ("embedding:a/b_c-d e", ["embedding:a/b_c-d"], " e"),
        ("a cat AND a dog", ["AND"], "a cat, a dog"),
        ("a cat :1.2 AND a dog, AND a (bird:1.1):-.5", ["AND", "AND"], "a cat, a dog, a (bird:1.1)"),
        ("ROCK AND ROLL", ["AND"], "ROCK, ROLL"),
        ("AND", ["AND"], ""),
        ("(a AND b:1.2)", ["AND"], "(a, b:1.2)"),
        # Similar text that is not unsupported.
        (r"\<lora:ink:1> \AND \embedding:x", [], r"\<lora:ink:1> \AND \embedding:x"),
        ("I <3 you, a < b > c, <b>, <:x>, <lora:ink", [], "I <3 you, a < b > c, <b>, <:x>, <lora:ink"),
        ("rock and roll, SAND, ANDROID, AND_PROMPT", [], "rock and roll, SAND, ANDROID, AND_PROMPT"),
        ("word embedding: x, myembedding:x, embedding:", [], "word embedding: x, myembedding:x, embedding:"),
        ("a cat :1.2", [], "a cat :1.2"),
    ],
)
def test_found_parts_and_the_remaining_text(prompt: str, found: list[str], left: str) -> None:
    parts = find_unsupported(prompt)
    assert [part.text for part in parts] == found
    assert all(prompt[part.start : part.end] == part.text for part in parts)
    assert remove_unsupported(prompt) == left


def test_removing_a_part_creates_no_other() -> None:
    left = remove_unsupported("<lo<lora:x:1>ra:y:1>")
    assert (left, find_unsupported(left)) == (r"\<lora:y:1>", [])


@given(PROMPTS)
def test_nothing_is_found_in_the_remaining_text(prompt: str) -> None:
    left = remove_unsupported(prompt)
    assert find_unsupported(left) == []
    assert remove_unsupported(left) == left
    check_supported(left, "prompt")


@given(PROMPTS)
def test_escaped_parts_are_read_literally_as_in_older_versions(prompt: str) -> None:
    written = escape_unsupported(prompt)
    assert find_unsupported(written) == []
    assert parse_prompt(written).tree == parse_prompt(prompt).tree
    assert escape_unsupported(written) == written


@pytest.mark.parametrize(
    ("prompt", "message", "hint"),
    [
        (
            "a <lora:ink:1> cat",
            "The prompt has <lora:ink:1> at character 2, which asks for a LoRA",
            r"\<lora:ink:1>",
        ),
        ("<lyco:x:1>", "a LyCORIS", r"\<lyco:x:1>"),
        ("<hypernet:x:1>", "a hypernetwork", r"\<hypernet:x:1>"),
        ("<wobble:x>", "a network", r"\<wobble:x>"),
        ("embedding:bad", "a textual inversion", r"\embedding:bad"),
        (
            "ROCK AND ROLL",
            "AND at character 5, which asks for prompts that are composed",
            r"small letters \(and\)",
        ),
    ],
)
def test_a_refusal_names_the_part_its_position_and_the_alternative(
    prompt: str, message: str, hint: str
) -> None:
    with pytest.raises(PromptUnsupportedError) as caught:
        check_supported(prompt, "prompt")
    assert message in caught.value.message
    assert hint.replace("\\(", "(").replace("\\)", ")") in caught.value.hint
    (escaped,) = [part for part in caught.value.hint.split(": ") if part.startswith("\\")]
    assert plain_text(parse_prompt(escaped), 0, 1) == escaped[1:], "written as the hint says, it is words"
    check_supported(escaped, "prompt")


def test_a_refusal_names_the_other_parts() -> None:
    with pytest.raises(PromptUnsupportedError, match="Likewise: AND, <lora:b:1>"):
        check_supported("<lora:a:1> AND <lora:b:1> AND <lora:a:1>", "negative prompt")
    with pytest.raises(PromptUnsupportedError) as caught:
        check_supported("".join(f"<lora:{'x' * 500}{number}:1>" for number in range(18)), "prompt")
    assert len(caught.value.message + caught.value.hint) < 1000


def test_each_part_is_noted_once() -> None:
    texts = distinct_texts(find_unsupported("<lora:a:1> x AND y AND <lora:a:1>"))
    assert texts == ("<lora:a:1>", "AND")
    assert left_out_notes(texts) == (
        "<lora:a:1> was left out: it asks for a LoRA, and none is loaded here.",
        "AND was left out: it asks for prompts that are composed, which is not done here.",
    )


@pytest.mark.parametrize("piece", ["<a:", "<", "<a", ":1", " ", "AND ", "embedding:", "\\", ":1 AND "])
def test_no_prompt_takes_long(piece: str) -> None:
    prompt = (piece * 10_000)[:10_000] + "AND"
    started = time.perf_counter()
    remove_unsupported(prompt)
    assert time.perf_counter() - started < 0.5
