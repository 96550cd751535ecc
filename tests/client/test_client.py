from __future__ import annotations

import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from tests.gallery.conftest import new_entry
from tests.server.api.conftest import JobDriver

from safelight.client import Client, GenerateJob, ScanJob, UpscaleJob
from safelight.client.client import encode_file
from safelight.errors import (
    BelowMinimumError,
    BodyInvalidError,
    EntryMissingError,
    FileMissingError,
    IdempotencyConflictError,
    JobEndedError,
    MemoryBudgetError,
    PreviewMissingError,
    RequestError,
    ResultMissingError,
    UnsupportedError,
)
from safelight.jobs.gallery_entries import job_result
from safelight.jobs.job import Progress
from safelight.jobs.queue_service import QueueService


def generate_soon(service: QueueService) -> threading.Thread:
    """Run the next job as a worker would."""

    def work() -> None:
        while (job := service.store.claim("bench")) is None:
            time.sleep(0.02)
        service.store.report(job, Progress(stage="first pass", fraction=0.5))
        time.sleep(0.2)
        entry = service.gallery.add(new_entry(5, job_id=job.id, owner=job.owner))
        service.store.succeed(job, job_result([entry]).to_dict(), 1.0)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_generating(safelight: Client, service: QueueService, photographs: list[Path]) -> None:
    worker, seen = generate_soon(service), []
    (picture,) = safelight.generate(
        "a hat",
        init_image=photographs[1],
        strength=0.5,
        hires={"scale": 2.0},
        on_event=lambda event: seen.append(event.kind),
    )
    worker.join()
    assert (picture.seed, picture.decision) == (5, "allow")
    assert seen[0] == seen[-1] == "state"
    (job,) = safelight.jobs().jobs
    assert job.request["hires"] == {"scale": 2.0}
    assert Image.open(BytesIO(safelight.picture(job.id, 0, "webp"))).format == "WEBP"
    assert safelight.result(job.id).pictures == [picture]
    assert safelight.file(picture.id) == service.gallery.read(picture.id)


def test_references_are_sent(safelight: Client, photographs: list[Path]) -> None:
    with pytest.raises(UnsupportedError, match="does not look at references"):
        safelight.generate("a hat", references=[photographs[1], photographs[1].read_bytes()])


def test_upscaling(safelight: Client, service: QueueService, photographs: list[Path]) -> None:
    worker = generate_soon(service)
    assert safelight.upscale(photographs[1].read_bytes(), by=3).seed == 5
    worker.join()
    assert safelight.jobs(kind="upscale").jobs[0].request["by"] == 3


def test_jobs(safelight: Client, bench: JobDriver, service: QueueService) -> None:
    job = safelight.submit(GenerateJob(prompt="x"), idempotency_key="k")
    assert safelight.submit(GenerateJob(prompt="x"), idempotency_key="k").id == job.id
    with pytest.raises(IdempotencyConflictError):
        safelight.submit(GenerateJob(prompt="y"), idempotency_key="k")
    assert safelight.job(job.id).position == 1
    assert safelight.cancel(job.id).state == "cancelled"
    with pytest.raises(JobEndedError):
        safelight.finish(job.id)
    with pytest.raises(ResultMissingError):
        safelight.outcome(safelight.job(job.id))
    running = bench.start()
    with pytest.raises(PreviewMissingError):
        safelight.preview(running.id)
    assert safelight.skip(running.id).state == "running"
    assert service.store.signals([running.id]) == {running.id: "skip"}
    assert [each.id for each in safelight.jobs(states=["running"]).jobs] == [running.id]
    page = safelight.jobs(limit=1)
    assert [each.id for each in safelight.jobs(before=page.next).jobs] == [job.id]


def test_a_failure_is_raised_as_its_error(safelight: Client, bench: JobDriver) -> None:
    job = bench.fail(MemoryBudgetError("Too large.", hint="Try less."))
    for ask in (lambda: safelight.result(job.id), lambda: safelight.outcome(safelight.wait(job.id))):
        with pytest.raises(MemoryBudgetError, match="Too large") as raised:
            ask()
        assert raised.value.hint == "Try less."


def test_unknown_fields(safelight: Client) -> None:
    with pytest.raises(RequestError, match="stepz"):
        safelight.generate("x", stepz=3)


def test_scans(safelight: Client, photographs: list[Path]) -> None:
    job = safelight.submit(ScanJob(images=[encode_file(path) for path in photographs]))
    assert (job.kind, len(job.request["images"])) == ("scan", 5)
    assert safelight.submit(UpscaleJob(image=encode_file(photographs[0]))).request.keys() == {"image"}


def test_verdicts(safelight: Client, photographs: list[Path]) -> None:
    cat, broken = safelight.moderate(photographs[1], b"hello", policy="strict", embeddings=True)
    assert (cat.decision, broken.decision) == ("allow", "error")
    assert cat.policy is not None
    assert cat.policy.name == "strict"
    assert len(cat.embedding or ()) == 1024
    with pytest.raises(FileMissingError):
        safelight.moderate("nothing.png")


def test_listing_names(safelight: Client) -> None:
    assert [model.id for model in safelight.models("checkpoint")] == ["starter"]
    assert {model.kind for model in safelight.models()} == {"checkpoint", "classifier", "upscaler"}
    assert "Euler a" in [sampler.name for sampler in safelight.samplers()]
    assert safelight.styles() == []
    assert safelight.system().jobs["queued"] == 0


def test_the_gallery(safelight: Client, service: QueueService) -> None:
    made = [service.gallery.add(new_entry(number, f"apple {number}")) for number in range(5)]
    assert [entry.id for entry in safelight.entries("apple", limit=2)] == [entry.id for entry in made[::-1]]
    assert [entry.seed for entry in safelight.search(seed=3).entries] == [3]
    assert safelight.facets().decisions == {"allow": 5}
    first = made[0].id
    assert (safelight.entry(first).record or {})["prompt"] == "apple 0"
    assert safelight.mark(first, favourite=True, tags=["a"]).tags == ["a"]
    assert safelight.mark(first, favourite=False).tags == ["a"]
    assert Image.open(BytesIO(safelight.thumbnail(first, 16))).size == (16, 8)
    safelight.delete(first)
    with pytest.raises(EntryMissingError):
        safelight.file(first)


def test_several_pictures(safelight: Client, service: QueueService) -> None:
    ids = [service.gallery.add(new_entry(number, f"apple {number}")).id for number in range(3)]
    sea = safelight.add_collection("sea")
    marked = safelight.mark_many([*ids, "odd"], favourite=True, add_tags=["a"], add_to=[sea.id])
    assert [(each.favourite, each.tags, each.collections) for each in marked[:3]] == [
        (True, ["a"], [sea.id])
    ] * 3
    assert marked[3].error is not None
    assert marked[3].error.code == "gallery.missing"
    assert [entry.id for entry in safelight.entries('"apple 1"', collection=sea.id, sort="oldest")] == [
        ids[1]
    ]
    assert safelight.rename_collection(sea.id, "lake").pictures == 3
    assert [each.name for each in safelight.collections()] == ["lake"]
    with zipfile.ZipFile(BytesIO(b"".join(safelight.download(ids)))) as archive:
        assert archive.read(f"{ids[0]}.png") == safelight.file(ids[0])
    with pytest.raises(EntryMissingError):
        next(safelight.download(["odd"]))
    safelight.delete_collection(sea.id)
    assert [each.error for each in safelight.delete_many(ids)] == [None] * 3
    assert safelight.search().entries == []


def test_upscaling_a_picture_of_the_gallery(safelight: Client, service: QueueService) -> None:
    parent = service.gallery.add(new_entry(1)).id
    worker = generate_soon(service)
    safelight.upscale(parent=parent)
    worker.join()
    (job,) = safelight.jobs(kind="upscale").jobs
    assert (job.parent, job.request["upscaler"]) == (parent, "lanczos")
    with pytest.raises(BodyInvalidError, match="image or a parent"):
        safelight.upscale()


def test_the_queue(safelight: Client, bench: JobDriver) -> None:
    first, second = bench.submit().id, bench.submit().id
    assert safelight.pause().paused
    assert safelight.move(second, first).position == 1
    assert [job.id for job in safelight.queue().jobs] == [second, first]
    assert safelight.move(second).position == 2
    assert not safelight.resume().paused
    assert [job.outcome for job in safelight.cancel_jobs([first, "0" * 27])] == ["cancelled", "missing"]
    assert [job.id for job in safelight.cancel_jobs()] == [second]
    assert safelight.clear_jobs([first]) == 1
    assert safelight.clear_jobs() == 1
    assert safelight.jobs().jobs == []


def test_settings_and_preferences(safelight: Client) -> None:
    changed = {each.name: each for each in safelight.change_settings({"queue_capacity": 5})}
    assert (changed["queue_capacity"].value, changed["queue_capacity"].source) == (5, "runtime")
    assert safelight.settings() == list(changed.values())
    with pytest.raises(BelowMinimumError) as caught:
        safelight.change_settings({"queue_capacity": 0})
    assert (caught.value.field, caught.value.context) == ("queue_capacity", {"minimum": 1})
    assert safelight.change_preferences(look="dark").look == safelight.preferences().look == "dark"
