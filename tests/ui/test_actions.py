"""Which pictures can be generated again: those of which recall fills in all that they depend on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.generation.recall.test_recall import A1111, HERE
from tests.generation.test_record import BODY, PLAIN

from safelight.generation.infotext import infotext_from_record
from safelight.generation.recall import recall_text
from safelight.generation.record import ReproductionRecord

LAST = "Steps: 8, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Model: starter"
MISSING = """async (unfilled) => {
    const { missingFields } = await import("/actions.js");
    return missingFields(unfilled).map(({ name }) => name);
}"""


@pytest.fixture
def part(page: Page, static_url: str) -> Page:
    html = '<!doctype html><html lang="en"><title>Actions</title></html>'
    page.route(f"{static_url}/part", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{static_url}/part")
    return page


def record(**fields: Any) -> ReproductionRecord:
    return ReproductionRecord.model_validate(PLAIN | fields)


def test_pictures_that_can_be_generated_again(part: Page) -> None:
    texts = [
        record(styles=["3d"], left_out=["<lora:ink:0.8>"]).to_json(),
        infotext_from_record(record(left_out=["<lora:ink:0.8>"], hires=BODY["hires"], clip_skip=2)),
        f"x\n{LAST}, Postprocess upscale by: 2, Postprocess upscaler: lanczos",
    ]
    reported = [recall_text(text, HERE).unfilled for text in texts]
    assert all(reported), "recall reports what has no effect"
    assert [part.evaluate(MISSING, [asdict(each) for each in found]) for found in reported] == [[], [], []]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (record(adapters=BODY["adapters"]).to_json(), ["adapter"]),
        (record(checkpoint=BODY["checkpoint"] | {"digest": "b2" * 32}).to_json(), ["checkpoint's hash"]),
        (record(hires={"upscaler": "nowhere"}).to_json(), ["hires.upscaler"]),
        (A1111, ["adapter", "ENSD"]),
        (
            f"x\n{LAST}, Clip skip: many, Hires resize: 7x9, Hires upscaler: Latent",
            ["Clip skip", "hires.scale"],
        ),
        (f"x\n{LAST.replace('64x64', 'large')}", ["Size"]),
    ],
)
def test_pictures_that_cannot(part: Page, text: str, missing: list[str]) -> None:
    unfilled = [asdict(each) for each in recall_text(text, HERE).unfilled]
    assert part.evaluate(MISSING, unfilled) == missing
