from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from tests.server.conftest import app_client

from safelight.errors import JobEndedError, JobMissingError, KeyInvalidError, KeyRequiredError, error_of
from safelight.jobs.queue_service import QueueService
from safelight.server.api.native import (
    collections,
    controls,
    diagnostics,
    gallery,
    gallery_download,
    gallery_selection,
    heatmap,
    hub,
    job_events,
    job_results,
    jobs,
    model_residency,
    models,
    moderation,
    policies,
    preprocessing,
    prompts,
    recall,
    session,
    system,
)
from safelight.server.api.native.openapi_responses import COMMON_ERRORS, error_responses
from safelight.server.api.native.schemas.jobs import JobBody
from safelight.server.api.native.schemas.moderation import ModerationRequest
from safelight.server.api.openapi_examples import (
    MODERATION,
    PREPROCESSING,
    PROMPTS,
    RECALLS,
    SUBMISSIONS,
)
from safelight.server.app import create_app

OWN_FILES = (
    collections,
    gallery_selection,
    gallery_download,
    heatmap,
    policies,
    model_residency,
    hub,
    diagnostics,
    session,
    preprocessing,
    controls,
    prompts,
    recall,
)
FAMILIES = (jobs, job_events, job_results, moderation, models, gallery, system, *OWN_FILES)
ROUTES = [route for family in FAMILIES for route in family.router.routes if isinstance(route, APIRoute)]
NO_JSON = {
    "follow_job",
    "preview_job",
    "entry_file",
    "entry_thumbnail",
    "delete_entry",
    "close_session",
    "explain_picture",
    "preprocess",
    "delete_collection",
    "download_entries",
}


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """The operations of our native API in the OpenAPI document, by operation id."""
    app = FastAPI()
    for family in (jobs, moderation, models, gallery, system, *OWN_FILES):
        app.include_router(family.router)
    paths = app.openapi()["paths"].values()
    return {operation["operationId"]: operation for path in paths for operation in path.values()}


def test_every_operation_has_a_description(operations: dict[str, Any]) -> None:
    assert {route.operation_id for route in ROUTES} == operations.keys()
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            if int(status) >= 400:
                assert answer["content"]["application/json"]["examples"], (name, status)
        assert operation["responses"].keys() >= {str(kind.http_status) for kind in COMMON_ERRORS}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_response_examples_match_their_schemas(route: APIRoute, operations: dict[str, Any]) -> None:
    answer = operations[route.operation_id or ""]["responses"][str(route.status_code or 200)]
    if route.operation_id in NO_JSON:
        assert "application/json" not in answer.get("content", {})
        return
    content = answer["content"]["application/json"]
    assert content["schema"]
    TypeAdapter(route.response_model).validate_python(content["example"])


def test_examples_of_errors_are_errors_of_the_catalogue(operations: dict[str, Any]) -> None:
    for answer in _answers(operations):
        for code, example in answer["content"]["application/json"].get("examples", {}).items():
            body = example["value"]["error"]
            assert error_of(**body).to_dict() == body
            assert body["code"] == code


def test_several_errors_of_one_status_are_all_documented() -> None:
    described = error_responses(JobMissingError, JobEndedError)
    assert described[404]["description"] == JobMissingError.summary
    assert set(described[401]["content"]["application/json"]["examples"]) == {
        KeyRequiredError.code,
        KeyInvalidError.code,
    }


def test_request_examples_are_accepted(service: QueueService) -> None:
    for example in MODERATION.values():
        TypeAdapter(ModerationRequest).validate_python(example["value"])
    with app_client(create_app(service, service.settings)) as client:
        for example in SUBMISSIONS.values():
            TypeAdapter(JobBody).validate_python(example["value"])
            assert client.post("/v1/jobs", json=example["value"]).status_code == 202
        for example in MODERATION.values():
            assert client.post("/v1/moderate", json=example["value"]).status_code == 200
        for path, examples in (
            ("/v1/prompts/explain", PROMPTS),
            ("/v1/recall", RECALLS),
            ("/v1/preprocess", PREPROCESSING),
        ):
            for example in examples.values():
                assert client.post(path, json=example["value"]).status_code == 200


def _answers(operations: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                yield answer
