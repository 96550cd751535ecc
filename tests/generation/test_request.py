from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import RequestError
from safelight.generation.request import MAX_SEED, GenerationRequest, Mode, Variation

PICTURE = Image.new("RGB", (64, 64))


def parse(**fields: Any) -> GenerationRequest:
    return GenerationRequest.parse(**({"prompt": "a cat"} | fields))


def test_the_fields_decide_the_mode() -> None:
    assert parse().mode is Mode.TEXT
    assert parse(init_image=PICTURE).mode is Mode.IMAGE
    assert parse(init_image=PICTURE, mask=PICTURE).mode is Mode.INPAINT
    assert parse(init_image=PICTURE, outpaint={"left": 8}).mode is Mode.INPAINT


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"steps": -5}, "steps: .*greater than or equal to 1.*given: -5"),
        ({"steps": 1001}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"width": 3}, "width: .*16"),
        ({"height": 20_000}, "height"),
        ({"guidance_scale": float("nan")}, "guidance_scale.*finite"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"hires": {"scale": float("nan")}}, "hires.scale"),
        ({"hires": {"scale": 1}}, "hires.scale"),
        ({"prompt": "a\0cat"}, "prompt"),
        ({"negative_prompt": "a\0"}, "negative_prompt"),
        ({"prompt": "a" * 10_001}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"clip_skip": 13}, "clip_skip"),
        ({"guidance_method": "apg"}, "guidance_method"),
        ({"nonsense": 1}, "There is no field 'nonsense'"),
        ({"inpaint": {"sharp": 1}}, "inpaint.sharp"),
        ({"mask": PICTURE}, "needs an initial picture"),
        ({"outpaint": {"left": 8}}, "needs an initial picture"),
        ({"strength": 0.5}, "needs an initial picture"),
        ({"init_image": PICTURE, "strength": 1.5}, "strength"),
        ({"init_image": PICTURE, "mask": PICTURE, "outpaint": {"left": 8}}, "makes its own mask"),
        ({"guidance_start": 0.6, "guidance_end": 0.5}, "lies after"),
        ({"seed": MAX_SEED, "count": 2}, "last picture's seed"),
        ({"variation": {"seed": MAX_SEED, "strength": 0.1}, "count": 2}, "last picture's seed"),
    ],
)
def test_invalid_values_are_errors(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        parse(**fields)
    assert caught.value.exit_code == 2


def test_limits_are_inclusive() -> None:
    assert parse(seed=MAX_SEED).seed == MAX_SEED
    assert parse(seed=MAX_SEED - 1, count=2).count == 2
    assert parse(prompt="").prompt == ""
    assert parse(prompt="two\nlines").prompt == "two\nlines"
    assert parse(guidance_start=0.5, guidance_end=0.5).guidance_end == 0.5
    assert parse(variation={"seed": 1, "strength": 1}).variation == Variation(seed=1, strength=1.0)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(GenerationRequest.model_fields)), values))
def test_loose_values_give_a_request_or_our_own_error(fields: dict[str, Any]) -> None:
    with suppress(RequestError):
        assert GenerationRequest.parse(**fields).mode in Mode
