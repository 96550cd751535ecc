"""The whole OpenAPI document against a real server: every response is one that the document declares.

The server is a real process. A fake worker ends its jobs at once with a small image, since generating what random
requests ask for would take hours; workers have tests of their own.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.free_port import free_port
from tests.server.conftest import run_processes, wait_for_status
from tests.server.fake_worker import FakeWorker

from safelight.database import open_database
from safelight.server.security.bind_policy import PUBLIC_PATHS
from safelight.server.security.keys import KeyStore
from safelight.settings import Settings

NOT_IMPLEMENTED = 501
"""The one status from 500 on that a request may get: features that are not implemented, as the document says."""


@dataclass(frozen=True)
class ApiUnderTest:
    """A server's OpenAPI document, and what each request to it needs.

    Args:
        document: The parsed document.
        headers: With the key of a user; none where everybody on this machine may use the server.
        others: With the key of another user, who owns nothing.
        client: A client with the headers.
        statuses: The number of responses of each status.
    """

    document: BaseSchema
    headers: dict[str, str]
    others: dict[str, str]
    client: httpx2.Client
    statuses: Counter[int] = field(default_factory=Counter)

    def count(self, _: CheckContext, response: Response, __: Case) -> None:
        """A check that only counts the response."""
        self.statuses[response.status_code] += 1


@pytest.fixture(scope="module", params=["nobody needs a key", "a user's key"])
def asking(
    request: pytest.FixtureRequest, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiUnderTest]:
    home, port = tmp_path_factory.mktemp("schema") / "home", free_port()
    shutil.copytree(prepared, home)
    url = f"http://127.0.0.1:{port}"
    headers, others = _keys(home) if request.param == "a user's key" else ({}, {})
    with run_processes(home, ["api", "--port", str(port)], SAFELIGHT_REQUESTS_PER_MINUTE="100000"):
        worker = FakeWorker(home)
        worker.start()
        wait_for_status(url, "/health/ready")
        document = schemathesis.openapi.from_url(f"{url}/openapi.json", timeout=60, headers=dict(headers))
        with httpx2.Client(base_url=url, timeout=60, headers=headers) as client:
            yield ApiUnderTest(document, headers, others, client)
        worker.stop()


def _keys(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    engine = open_database(Settings(home=home))
    anna, berta = (KeyStore(engine).add(name) for name in ("anna", "berta"))
    engine.dispose()
    return {"Authorization": f"Bearer {anna}"}, {"Authorization": f"Bearer {berta}"}


@schemathesis.check
def no_failure(ctx: CheckContext, response: Response, case: Case) -> None:
    if response.status_code >= 500 and response.status_code != NOT_IMPLEMENTED:
        raise Failure(operation=case.operation.label, title="The server failed", message=response.text)


CHECKS = [
    no_failure,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def check_operation(asking: ApiUnderTest, operation: APIOperation, examples: int) -> None:
    """Test one operation with many valid and invalid requests; the valid ones name existing jobs and images."""
    there = existing_ids(operation, asking.client)
    always = [*CHECKS, asking.count]

    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def rightly(case: Case) -> None:
        case.path_parameters.update(there)
        if asking.headers and not is_open(operation):
            case.call_and_validate(
                checks=[*always, expect_status(401)], headers={"Authorization": ""}, timeout=60
            )
            if there:
                case.call_and_validate(
                    checks=[*always, expect_status(404)], headers=dict(asking.others), timeout=60
                )
        case.call_and_validate(checks=always, headers=dict(asking.headers), timeout=60)

    @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def wrongly(case: Case) -> None:
        case.call_and_validate(checks=always, headers=dict(asking.headers), timeout=60)

    some = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    some(rightly)()
    if operation.query or operation.body or operation.path_parameters or operation.headers:
        some(wrongly)()


def is_open(operation: APIOperation) -> bool:
    """Whether the operation needs no key."""
    return operation.path in PUBLIC_PATHS or operation.label == "POST /v1/session"


def expect_status(status: int) -> Callable[[CheckContext, Response, Case], None]:
    """A check that the response has one of some statuses."""

    def check(_: CheckContext, response: Response, case: Case) -> None:
        if response.status_code != status:
            title = f"{response.status_code} instead of {status}"
            raise Failure(operation=case.operation.label, title=title, message=response.text)

    return check


def existing_ids(operation: APIOperation, client: httpx2.Client) -> dict[str, str]:
    """The ids of an ended job and its image, as far as an operation's path has parameters for them."""
    names = {parameter.name for parameter in operation.path_parameters}
    if not names & {"job_id", "entry_id"}:
        return {}
    job = client.post("/v1/jobs", json={"kind": "generate", "prompt": "a lighthouse"}).json()["id"]
    assert "succeeded" in client.get(f"/v1/jobs/{job}/events").text
    picture = client.get(f"/v1/jobs/{job}").json()["result"]["pictures"][0]["id"]
    return {name: value for name, value in (("job_id", job), ("entry_id", picture)) if name in names}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("examples", [3, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_every_response_is_in_the_document(asking: ApiUnderTest, examples: int) -> None:
    operations = [found.ok() for found in asking.document.get_all_operations()]
    assert len(operations) > 60
    failures, began = [], time.monotonic()
    for operation in operations:
        try:
            check_operation(asking, operation, examples)
        except* Exception as error:  # noqa: BLE001  of whatever type, all of them are reported in the end
            failures.append(f"{operation.label}: {failure_messages(error)}")
    counts = ", ".join(f"{count} of {status}" for status, count in sorted(asking.statuses.items()))
    total, seconds = asking.statuses.total(), time.monotonic() - began
    # `make schemathesis` shows it
    sys.stdout.write(f"{len(operations)} operations, {total} answers in {seconds:.0f} s: {counts}\n")
    assert not failures, "\n\n".join(failures)


def failure_messages(error: BaseException) -> str:
    """The messages of all failures within a group."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(failure_messages(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"[:1500]
