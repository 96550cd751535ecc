from __future__ import annotations

from typing import Any

import pytest

from safelight.generation.defaults import checkpoint_defaults, with_checkpoint_defaults
from safelight.generation.request import GenerationRequest
from safelight.settings import CheckpointDefaults, Settings

CHOSEN = {
    "width": 192,
    "height": 128,
    "steps": 7,
    "guidance_scale": 0.0,
    "sampler": "Euler",
    "schedule": "karras",
}


def settings(**fields: Any) -> Settings:
    return Settings.load(checkpoint_defaults={"starter": CHOSEN}, **fields)


def filled(**fields: Any) -> dict[str, Any]:
    request = with_checkpoint_defaults(GenerationRequest(prompt="x", **fields), settings())
    return {name: value for name, value in request.model_dump(exclude_unset=True).items() if name in CHOSEN}


def test_open_values_are_filled() -> None:
    assert filled() == CHOSEN
    assert filled(checkpoint="starter") == CHOSEN
    assert filled(checkpoint="other") == {}
    assert filled(steps=3, width=64) == CHOSEN | {"steps": 3, "width": 64}


def test_a_given_sampler_keeps_its_own_schedule() -> None:
    assert filled(sampler="DDIM")["sampler"] == "DDIM"
    assert "schedule" not in filled(sampler="DDIM")
    assert filled(schedule="beta")["schedule"] == "beta"


def test_an_initial_picture_keeps_its_size() -> None:
    assert filled(init_image=b"a picture") == {
        name: value for name, value in CHOSEN.items() if name not in ("width", "height")
    }


def test_the_default_checkpoint_may_be_a_path() -> None:
    assert checkpoint_defaults("/models/starter", settings()).steps == 7


@pytest.mark.parametrize("name", CHOSEN)
def test_ranges_are_those_of_a_request(name: str) -> None:
    def rules(model: Any) -> Any:
        field = model.model_json_schema()["properties"][name]["anyOf"][0]
        return {key: value for key, value in field.items() if key != "pattern"}

    assert rules(CheckpointDefaults) == rules(GenerationRequest)
