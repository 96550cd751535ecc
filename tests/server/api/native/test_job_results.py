from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.api.conftest import JobDriver

from safelight.errors import MemoryBudgetError
from safelight.generation.record import ReproductionRecord
from safelight.images.metadata.file_metadata import read_metadata
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision


def test_a_result_as_json(client: TestClient, bench: JobDriver) -> None:
    job = bench.finish("local", {}, {"seed": 8})
    answer = client.get(f"/v1/jobs/{job.id}/result")
    assert (answer.status_code, answer.headers["Vary"]) == (200, "Accept")
    pictures = answer.json()["pictures"]
    assert [(picture["index"], picture["seed"], picture["decision"]) for picture in pictures] == [
        (0, 7, "allow"),
        (1, 8, "allow"),
    ]
    assert client.get(pictures[1]["url"]).headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_a_result_as_an_image(client: TestClient, bench: JobDriver, service: QueueService, kind: str) -> None:
    job = bench.finish("local", {}, {})
    answer = client.get(f"/v1/jobs/{job.id}/result?picture=1", headers={"Accept": f"image/{kind}"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert Image.open(BytesIO(answer.content)).format == kind.upper()
    told = read_metadata(answer.content)
    assert told.infotext is not None
    assert told.infotext.startswith("a red apple")
    record = ReproductionRecord.parse(told.record or "")
    assert record.seed == 8
    assert (record.file is None) if kind == "png" else (record.file is not None and record.file.kind == kind)


def test_the_quality_of_a_picture(client: TestClient, bench: JobDriver) -> None:
    job, jpeg = bench.finish(), {"Accept": "image/jpeg"}
    sizes = [
        len(client.get(f"/v1/jobs/{job.id}/result?quality={quality}", headers=jpeg).content)
        for quality in (10, 100)
    ]
    assert sizes[0] < sizes[1]
    assert client.get(f"/v1/jobs/{job.id}/result?quality=0", headers=jpeg).status_code == 422


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("text/html, image/webp;q=0.9, */*;q=0.1", "image/webp"),
        ("image/png;q=0.5, application/json;q=0.6", "application/json"),
        ("image/*, image/png;q=0", "image/webp"),
    ],
)
def test_the_accept_header_chooses_the_format(
    client: TestClient, bench: JobDriver, accept: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    assert client.get(f"/v1/jobs/{bench.finish().id}/result", headers=headers).headers["Content-Type"] == kind


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "*/*;q=0", "application/json;q=nonsense"])
def test_formats_that_are_not_offered(client: TestClient, bench: JobDriver, accept: str) -> None:
    answer = client.get(f"/v1/jobs/{bench.finish().id}/result", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["error"]["code"]) == (406, "request.accept")


def test_an_etag_that_matches_gives_304(client: TestClient, bench: JobDriver) -> None:
    path, png = f"/v1/jobs/{bench.finish().id}/result", {"Accept": "image/png"}
    first = client.get(path, headers=png)
    again = client.get(path, headers=png | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path, headers={"Accept": "image/webp", "If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200


def test_a_job_without_a_result_yet(client: TestClient, bench: JobDriver) -> None:
    job = bench.start()
    answer = client.get(f"/v1/jobs/{job.id}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job.unfinished")


def test_an_image_that_does_not_exist(client: TestClient, bench: JobDriver) -> None:
    answer = client.get(f"/v1/jobs/{bench.finish().id}/result?picture=1", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job.no_result")


def test_a_failed_job_responds_with_its_error(client: TestClient, bench: JobDriver) -> None:
    error = MemoryBudgetError("Too large.", hint="Try less.")
    answer = client.get(f"/v1/jobs/{bench.fail(error).id}/result")
    assert answer.status_code == error.http_status
    assert answer.json() == {"error": error.to_dict()}


def test_a_cancelled_job_returns_its_finished_images(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    waiting = bench.submit()
    client.delete(f"/v1/jobs/{waiting.id}")
    assert client.get(f"/v1/jobs/{waiting.id}/result").json()["error"]["code"] == "job.no_result"
    job = bench.start()
    service.store.mark_cancelled(job, {"pictures": []})
    assert client.get(f"/v1/jobs/{job.id}/result").json() == {"pictures": [], "verdicts": []}


def test_a_blocked_image_has_no_file(client: TestClient, bench: JobDriver) -> None:
    job = bench.finish("local", {"decision": Decision.BLOCK})
    assert client.get(f"/v1/jobs/{job.id}/result").json()["pictures"][0]["url"] is None
    answer = client.get(f"/v1/jobs/{job.id}/result", headers={"Accept": "image/png", "If-None-Match": "*"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "blocked")


def test_a_result_of_another_owner(people: Callable[[str], TestClient], bench: JobDriver) -> None:
    job = bench.finish("anna")
    png = {"Accept": "image/png"}
    assert people("berta").get(f"/v1/jobs/{job.id}/result", headers=png).status_code == 404
    for name in ("anna", "chief"):
        assert people(name).get(f"/v1/jobs/{job.id}/result", headers=png).status_code == 200
