from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import pytest
from sqlalchemy import Engine

from safelight.database import blobs, read_transaction, write_transaction
from safelight.errors import BlobMissingError, RequestError
from safelight.generation.request import GenerationRequest, RequestPart
from safelight.images.fields import ImageField
from safelight.jobs.job import JobKind
from safelight.jobs.payloads import (
    ScanRequest,
    blob_digests,
    load_request,
    parse_request,
    store_request,
    with_seed,
)
from safelight.jobs.task import Task
from safelight.plugins import PLUGINS, Registry, hookimpl


def test_pictures_are_stored_in_the_database_and_loaded_again(database: Engine) -> None:
    request = parse_request(
        JobKind.GENERATE,
        {"prompt": "a hat", "init_image": b"one", "mask": b"two", "strength": 0.5, "inpaint": {"blur": 2}},
    )
    body, pictures = store_request(request)
    with write_transaction(database) as connection:
        blobs.put_many(connection, pictures)
    assert json.loads(json.dumps(body)) == body
    assert "one" not in json.dumps(body)
    assert len(set(blob_digests(body))) == 2
    with read_transaction(database) as connection:
        again = load_request(connection, JobKind.GENERATE, body)
    assert isinstance(again, GenerationRequest)
    assert (again.init_image, again.mask, again.strength) == (b"one", b"two", 0.5)
    assert again.inpaint.blur == 2
    assert again.inpaint.padding == 32


def test_many_pictures_and_duplicates(database: Engine) -> None:
    with write_transaction(database) as connection:
        body, pictures = store_request(parse_request(JobKind.SCAN, {"images": (b"a", b"b", b"a")}))
        blobs.put_many(connection, pictures)
        again = load_request(connection, JobKind.SCAN, body)
    assert isinstance(again, ScanRequest)
    assert again.images == (b"a", b"b", b"a")
    assert len(set(blob_digests(body))) == 2


def test_a_missing_blob_is_an_error(database: Engine) -> None:
    with read_transaction(database) as connection, pytest.raises(BlobMissingError):
        load_request(connection, JobKind.UPSCALE, {"image": {"blob": "0" * 64}})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (JobKind.GENERATE, {"prompt": "x", "steps": 0}),
        (JobKind.GENERATE, {"prompt": "x", "colour": "red"}),
        (JobKind.UPSCALE, {"image": b"x", "by": 99}),
        (JobKind.UPSCALE, {}),
        (JobKind.SCAN, {"images": ()}),
    ],
)
def test_invalid_requests_are_refused(kind: JobKind, fields: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        parse_request(kind, fields)


def test_a_random_seed_is_chosen_once() -> None:
    request = GenerationRequest.parse(prompt="x")
    assert with_seed(request).seed != with_seed(request).seed
    assert with_seed(request, "key").seed == with_seed(request, "key").seed
    assert with_seed(GenerationRequest.parse(prompt="x", seed=5)).seed == 5


class Control(RequestPart):
    kind: str
    image: Annotated[bytes, ImageField()]


class Controlled(GenerationRequest):
    """A request with nested parts, as a later version may have: its pictures lie deeper."""

    control: tuple[Control, ...] = ()
    references: tuple[Annotated[bytes, ImageField()], ...] = ()


class ControlledJobs:
    """A plug-in with a job kind for such requests."""

    @hookimpl
    def register_tasks(self, registry: Registry[Task[Any]]) -> None:
        registry.register(
            "controlled", replace(registry[JobKind.GENERATE], kind="controlled", request=Controlled)
        )


@pytest.fixture
def controlled() -> Iterator[None]:
    with PLUGINS.registered(ControlledJobs(), "controlled"):
        yield


def test_pictures_within_parts_of_a_request_are_loaded_too(database: Engine, controlled: None) -> None:
    fields = {
        "prompt": "a hat",
        "init_image": b"one",
        "control": ({"kind": "depth", "image": b"two"}, {"kind": "edges", "image": b"one"}),
        "references": (b"three",),
    }
    request = parse_request("controlled", fields)
    body, pictures = store_request(request)
    assert set(pictures.values()) == {b"one", b"two", b"three"}
    assert set(blob_digests(body)) == set(pictures)
    with write_transaction(database) as connection:
        blobs.put_many(connection, pictures)
        again = load_request(connection, "controlled", body)
    assert again == request
    assert isinstance(again, Controlled)
    assert [each.image for each in again.control] == [b"two", b"one"]
