from __future__ import annotations

from typing import Any

import pytest
from tests.generation.test_plan import resolve_plan

from safelight.errors import UnsupportedError
from safelight.generation.taken_fields import fields_not_taken
from safelight.models.families import FAMILIES

VALUES: dict[str, Any] = {
    "clip_skip": 2,
    "pag_scale": 1.5,
    "token_merging": 0.5,
    "true_cfg_scale": 3,
    "seamless": "both",
}
TEXT_FAMILIES = [name for name, family in FAMILIES.items() if "text-to-image" in family.modes]


def test_a_plan_refuses_what_is_not_taken() -> None:
    refused = set()
    for name in TEXT_FAMILIES:
        for field in VALUES.keys() & fields_not_taken(FAMILIES[name]):
            with pytest.raises(UnsupportedError):
                resolve_plan(name, **{field: VALUES[field]})
            refused.add(field)
    assert refused == VALUES.keys()


def test_a_plan_takes_the_rest() -> None:
    for field, value in VALUES.items():
        name = "flux" if field == "true_cfg_scale" else "sd1"
        assert field not in fields_not_taken(FAMILIES[name])
        resolve_plan(name, **{field: value})


def test_a_checkpoint_that_reads_masks_has_no_soft_inpainting() -> None:
    assert "inpaint.soft" in fields_not_taken(FAMILIES["sd1-inpaint"])
    assert "inpaint.soft" not in fields_not_taken(FAMILIES["sd1"])
