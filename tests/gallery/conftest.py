"""An empty gallery for each test, and images to add."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from safelight.database import migrate, open_database
from safelight.file_formats import FileFormat
from safelight.gallery import SCHEMA, Gallery, NewEntry
from safelight.generation.infotext import infotext_from_record
from safelight.generation.record import ReproductionRecord
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.policy import Decision
from safelight.settings import Settings

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


@pytest.fixture
def gallery(engine: Engine, database_settings: Settings) -> Gallery:
    return Gallery(engine, database_settings.home)


def make_record(prompt: str, seed: int = 42, **changes: Any) -> ReproductionRecord:
    body: dict[str, Any] = {
        "versions": {"safelight": "0.2.0", "torch": "2", "diffusers": "0.42", "transformers": "5"},
        "machine": {"device": "cpu", "precision": "fp32", "backend": "eager", "threads": 2},
        "mode": "text-to-image",
        "checkpoint": {"name": "starter", "family": "sd1-starter", "digest": "ab" * 32},
        "prompt": prompt,
        "negative_prompt": "blurry",
        "expanded_prompt": prompt,
        "expanded_negative_prompt": "blurry",
        "seed": seed,
        "width": 32,
        "height": 16,
        "steps": 20,
        "sampler": "Euler a",
        "guidance_scale": 7.0,
        "verdict": {"policy": "standard", "version": "1", "digest": "cd" * 32, "decision": "allow"},
    }
    return ReproductionRecord(**body | changes)


def make_image_file(
    record: ReproductionRecord | None, kind: FileFormat = "png", size: tuple[int, int] = (32, 16)
) -> bytes:
    """An image file with its record as metadata."""
    noise = np.random.default_rng(record.seed if record else 0).integers(0, 256, (*size[::-1], 3), np.uint8)
    metadata = Metadata(infotext_from_record(record), record.to_json()) if record else Metadata()
    return encode_image(Image.fromarray(noise), kind, metadata)


def new_entry(number: int = 0, prompt: str = "a red apple", **changes: Any) -> NewEntry:
    """An image of job `number`, with a file unless it is blocked."""
    record = make_record(prompt, seed=number)
    blocked = changes.get("decision") is Decision.BLOCK
    fields: dict[str, Any] = {
        "job_id": f"job-{number}",
        "owner": "anna",
        "created": NOON,
        "width": 32,
        "height": 16,
        "decision": Decision.ALLOW,
        "unsafe": 0.125,
        "scores": {"sfw": 0.875, "nsfw": 0.125},
        "policy": "standard",
        "prompt": prompt,
        "negative_prompt": "blurry",
        "mode": "text-to-image",
        "seed": number,
        "steps": 20,
        "sampler": "Euler a",
        "checkpoint": "starter",
        "checkpoint_digest": "ab" * 32,
        "family": "sd1-starter",
        "infotext": infotext_from_record(record),
        "record": record.to_json(),
    }
    if "data" not in changes:
        fields["data"] = None if blocked else make_image_file(record)
    return NewEntry(**fields | changes)
