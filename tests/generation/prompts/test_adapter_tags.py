from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import PromptError
from safelight.generation.prompts.adapter_tags import (
    find_adapter_tags,
    format_adapter_tag,
    remove_adapter_tags,
)
from safelight.generation.request import Adapter

PIECES = st.sampled_from(
    [
        "<lora:a:1>",
        "<lyco:b>",
        "<",
        ">",
        ":",
        "\\",
        " ",
        "(",
        "a cat, ",
        "<LoRA:c:te=0.5:unet=1>",
        "lora:",
        "ra:y:1>",
    ]
)


@pytest.mark.parametrize(
    ("prompt", "fields", "left"),
    [
        ("a cat", [], "a cat"),
        ("a <lora:ink> cat", [{"name": "ink"}], "a cat"),
        ("<lora:ink:0.8> a cat", [{"name": "ink", "strength": 0.8}], "a cat"),
        ("a cat <LyCO:sub/my style, v2:-.5>", [{"name": "sub/my style, v2", "strength": -0.5}], "a cat"),
        ("cat<lora:a:0.5:1>dog", [{"name": "a", "strength": 0.5, "denoiser": 1.0}], "catdog"),
        ("<lora:a:te=0.5:unet=1>", [{"name": "a", "strength": 0.5, "denoiser": 1.0}], ""),
        (
            "<lora:a:0.2@0,1@0.5:in=0:mid=1@3;0@8:out=2>",
            [
                {
                    "name": "a",
                    "strength": "0.2@0,1@0.5",
                    "input_blocks": 0.0,
                    "middle_block": "1@3,0@8",
                    "output_blocks": 2.0,
                }
            ],
            "",
        ),
        ("x\n<lora:a>, y", [{"name": "a"}], "x\n, y"),
        # Other parts, and escaped ones.
        (r"\<lora:ink:1> <hypernet:x:1>", [], r"\<lora:ink:1> <hypernet:x:1>"),
        ("<lo<lora:x:1>ra:y:1>", [{"name": "x", "strength": 1.0}], r"\<lora:y:1>"),
    ],
)
def test_tags_and_the_text_without_them(prompt: str, fields: list[dict[str, object]], left: str) -> None:
    tags = find_adapter_tags(prompt)
    assert [dict(tag.fields) for tag in tags] == fields
    assert all(prompt[tag.start : tag.end] == tag.text for tag in tags)
    assert remove_adapter_tags(prompt) == left


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("<lora: :1>", "no name"),
        ("<lora:a:x>", "no strength"),
        ("<lora:a:1@0,2@0>", "two points"),
        ("<lora:a:1000>", "not between"),
        ("<lora:a:1:2:3>", "no meaning"),
        ("<lora:a:dyn=4>", "'dyn' is none of te, unet"),
        ("<lora:~/a:1>", "no path"),
    ],
)
def test_a_tag_that_cannot_be_read_is_an_error(tag: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        find_adapter_tags(f"a cat {tag}")


@given(st.lists(PIECES, max_size=12).map("".join))
def test_the_remaining_text_has_no_tags(prompt: str) -> None:
    try:
        left = remove_adapter_tags(prompt)
    except PromptError:
        return
    assert find_adapter_tags(left) == []
    assert remove_adapter_tags(left) == left


STRENGTHS = st.sampled_from([0.0, 1.0, -0.5, 0.123456789, "0.2@0,1@0.5"])


@given(
    st.builds(
        Adapter,
        name=st.sampled_from(["ink", "sub/my style"]),
        strength=STRENGTHS,
        denoiser=st.none() | STRENGTHS,
        text_encoder=st.none() | STRENGTHS,
        input_blocks=st.none() | STRENGTHS,
        output_blocks=st.none() | STRENGTHS,
    )
)
def test_a_formatted_tag_means_the_same(adapter: Adapter) -> None:
    (tag,) = find_adapter_tags(format_adapter_tag(adapter.model_dump()))
    again = Adapter.model_validate(tag.fields)

    def effect(each: Adapter) -> tuple[object, ...]:
        text = each.strength if each.text_encoder is None else each.text_encoder
        own = each.strength if each.denoiser is None else each.denoiser
        return each.name, text, own, each.input_blocks, each.output_blocks

    assert effect(again) == effect(adapter)
