from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine
from tests.gallery.conftest import new_entry
from tests.jobs.store_helpers import claim_job, submission
from tests.jobs.worker_processes import wait_for

from safelight.audit_log import AuditLog
from safelight.database import migrate
from safelight.errors import DatabaseBusyError
from safelight.gallery import Entry, Gallery, NewEntry, Relation, Search
from safelight.gallery import tables as gallery_tables
from safelight.generation.request import GenerationRequest
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.jobs import retry
from safelight.jobs.job import PAUSED, JobKind, Progress, Signal
from safelight.jobs.payloads import PreprocessRequest, ScanRequest, UpscaleRequest, store_request
from safelight.jobs.queue.store import JobStore
from safelight.jobs.result import JobResult
from safelight.jobs.tasks import JobContext, generate, preprocess, scan, upscale
from safelight.jobs.worker.running_job import RunningJob
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Decision
from safelight.settings import Settings
from safelight.studio import Studio
from safelight.studio.upscaled import Upscaled


@pytest.fixture
def context(database: Engine, tmp_path: Path) -> JobContext:
    migrate(database, [gallery_tables.SCHEMA])
    settings = Settings(home=tmp_path, backend="onnxruntime", precision="fp32")
    return JobContext(Studio(settings), Gallery(database, tmp_path), AuditLog(tmp_path))


def entry(index: int, decision: Decision) -> NewEntry:
    return NewEntry(
        job_id="j",
        index=index,
        owner="anna",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        data=None,
        width=8,
        height=8,
        decision=decision,
        unsafe=1.0,
        scores={"nsfw": 1.0},
        policy="strict",
    )


def test_blocked_images_are_audited(context: JobContext) -> None:
    blocked = context.add_entry(entry(0, Decision.BLOCK))
    (line,) = [json.loads(text) for text in context.audit.path.read_text().splitlines()]
    assert (line["event"], line["owner"], line["job_id"], line["entry_id"]) == (
        "picture.blocked",
        "anna",
        "j",
        blocked.id,
    )


@pytest.fixture
def running(store: JobStore) -> RunningJob:
    store.submit(submission(kind=JobKind.UPSCALE))
    return RunningJob(claim_job(store), store)


@pytest.fixture
def picture() -> UpscaleRequest:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), "green").save(buffer, "PNG")
    return UpscaleRequest(image=buffer.getvalue())


def count_entries(context: JobContext, running: RunningJob) -> bool:
    return context.gallery.find(running.job.id, 0) is not None


def test_upscaling(context: JobContext, running: RunningJob, picture: UpscaleRequest) -> None:
    assert upscale(context, running, picture).pictures
    assert count_entries(context, running)
    assert not running.interrupted
    assert not running.partial
    assert upscale(context, running, picture).pictures
    assert running.partial  # it was in the gallery


def test_what_computed_an_upscaled_picture_is_in_its_notes(
    context: JobContext, running: RunningJob, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "openvino computed 1 of 1 part of the picture."
    monkeypatch.setattr(Upscaled, "notes", (note,))
    (shown,) = upscale(context, running, picture).pictures
    assert shown.notes == [note]


def test_preprocessing(context: JobContext, running: RunningJob, picture: UpscaleRequest) -> None:
    request = PreprocessRequest(image=picture.image, preprocessor="invert")
    (shown,) = preprocess(context, running, request).pictures
    assert (shown.width, shown.height, shown.relation) == (32, 32, None)
    (found,) = context.gallery.search(Search()).entries
    assert (found.id, found.mode) == (shown.id, "preprocess: invert")
    with Image.open(BytesIO(context.gallery.read(shown.id))) as made:
        assert made.convert("RGB").getpixel((3, 3)) == (255, 127, 255)
    assert preprocess(context, running, request).pictures
    assert running.partial  # it was in the gallery


def test_a_preprocessing_that_is_cancelled_leaves_nothing(
    context: JobContext, running: RunningJob, picture: UpscaleRequest
) -> None:
    running.signal = Signal.CANCEL
    request = PreprocessRequest(image=picture.image, preprocessor="invert")
    assert preprocess(context, running, request) == JobResult.from_pictures([])
    assert running.interrupted
    assert not count_entries(context, running)


def test_an_embedding_is_stored_with_its_classifier(
    context: JobContext, running: RunningJob, picture: UpscaleRequest
) -> None:
    upscale(context, running, picture)
    classifier = context.studio.moderator().classifier.info
    (stored,) = context.gallery.embeddings(classifier.digest)
    assert stored.embedding.classifier == classifier.name
    assert stored.embedding.vector.shape == (classifier.embedding_dim,)
    assert context.gallery.find(running.job.id, 0) == context.gallery.get(stored.entry_id)


INFOTEXT = "a whale\nSteps: 8, Sampler: DDIM, CFG scale: 4, Seed: 99, Size: 32x32, Model: other"


def with_infotext(picture: UpscaleRequest) -> UpscaleRequest:
    image = Image.open(BytesIO(picture.image))
    return UpscaleRequest(image=encode_image(image, "png", Metadata(infotext=INFOTEXT)))


def test_an_upscaled_picture_is_found_by_its_words(
    context: JobContext, running: RunningJob, picture: UpscaleRequest
) -> None:
    """Without a parent, the picture's infotext says how it was generated."""
    (shown,) = upscale(context, running, with_infotext(picture)).pictures
    assert (shown.seed, shown.steps, shown.sampler, shown.checkpoint) == (99, 8, "DDIM", "other")
    (found,) = context.gallery.search(Search(query="whale")).entries
    assert (found.prompt, found.mode, found.parent_id, found.relation) == ("a whale", "upscale", None, None)


def test_an_upscaled_picture_inherits_from_its_parent(
    context: JobContext, store: JobStore, picture: UpscaleRequest
) -> None:
    parent = context.add_entry(new_entry(7, "a red apple", sampler=None))
    store.submit(submission(kind=JobKind.UPSCALE, parent=parent.id))
    (shown,) = upscale(context, RunningJob(claim_job(store), store), with_infotext(picture)).pictures
    assert (shown.seed, shown.parent_id, shown.relation) == (7, parent.id, Relation.UPSCALE)
    (found, _) = context.gallery.search(Search(query="apple")).entries
    assert found.id == shown.id
    names = ("prompt", "negative_prompt", "seed", "steps", "checkpoint", "checkpoint_digest", "family")
    assert [getattr(found, name) for name in names] == [getattr(parent, name) for name in names]
    assert found.sampler == "DDIM", "from the infotext, where the parent does not say"
    assert found.infotext is not None
    assert found.infotext.startswith("a whale")


def test_an_upscaled_picture_whose_parent_was_deleted(
    context: JobContext, store: JobStore, picture: UpscaleRequest
) -> None:
    parent = context.add_entry(new_entry(7, "a red apple"))
    store.submit(submission(kind=JobKind.UPSCALE, parent=parent.id))
    context.gallery.delete(parent.id)
    (shown,) = upscale(context, RunningJob(claim_job(store), store), with_infotext(picture)).pictures
    assert (shown.seed, shown.parent_id, shown.relation) == (99, None, Relation.UPSCALE)


@pytest.mark.parametrize(
    ("fields", "relation"),
    [
        ({}, Relation.AGAIN),
        ({"variation": {"seed": 4, "strength": 0.2}}, Relation.VARIATION),
        ({"init_image": b"", "strength": 1.0}, Relation.EDIT),
    ],
)
def test_generated_pictures_know_their_parent(
    context: JobContext, store: JobStore, picture: UpscaleRequest, fields: dict[str, Any], relation: Relation
) -> None:
    """And their files are those that they would be without one."""
    parent = context.add_entry(new_entry(7))
    if "init_image" in fields:
        fields = fields | {"init_image": picture.image}
    request = GenerationRequest.parse(prompt="a ball", seed=3, width=64, height=64, steps=1, **fields)
    body, blobs = store_request(request)
    made = []
    for parent_id in (parent.id, None):
        store.submit(submission(request=body, parent=parent_id), blobs)
        (shown,) = generate(context, RunningJob(claim_job(store), store), request).pictures
        made.append(shown)
    assert [(each.parent_id, each.relation) for each in made] == [(parent.id, relation), (None, None)]
    assert made[0].sha256 == made[1].sha256


@pytest.mark.parametrize("how", ["told", "leaving", "late"])
def test_upscaling_stops(context: JobContext, store: JobStore, picture: UpscaleRequest, how: str) -> None:
    store.submit(submission(kind=JobKind.UPSCALE, timeout=1e-9))
    running = RunningJob(claim_job(store), store)
    if how == "told":
        running.receive_signal(Signal.CANCEL, 0)
    running.worker_stopping = how == "leaving"
    assert upscale(context, running, picture) == JobResult.from_pictures([])
    assert running.interrupted
    assert not count_entries(context, running)


def paused(store: JobStore, job_id: str) -> bool:
    progress = store.get(job_id).progress
    return progress is not None and progress.stage == PAUSED


def test_upscaling_pauses_between_two_tiles(
    context: JobContext, store: JobStore, running: RunningJob, picture: UpscaleRequest
) -> None:
    running.paused = True
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(upscale, context, running, picture)
        wait_for(lambda: paused(store, running.job.id))
        assert not count_entries(context, running)
        running.paused = False
        assert working.result(60).pictures


def test_scanning_pauses_between_two_pictures(
    context: JobContext, store: JobStore, picture: UpscaleRequest
) -> None:
    store.submit(submission(kind=JobKind.SCAN))
    running = RunningJob(claim_job(store), store, paused=True)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(scan, context, running, ScanRequest(images=(picture.image,) * 3))
        wait_for(lambda: paused(store, running.job.id))
        assert not working.done()
        running.paused = False
        verdicts = working.result(60).verdicts
    assert len(verdicts) == 3


def test_generation_pauses_between_two_images(
    context: JobContext, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is begun meanwhile, and a job that is stopped begins no further one."""
    drawn: list[int] = []

    def draw(_desk: JobContext, running: RunningJob, _run: object, index: int) -> None:
        drawn.append(index)
        running.report(Progress(stage="first pass"))
        running.paused = True

    monkeypatch.setattr("safelight.jobs.tasks._generate", draw)
    store.submit(submission())
    running = RunningJob(claim_job(store), store)
    with ThreadPoolExecutor(1) as pool:
        request = GenerationRequest(prompt="x", seed=1, count=3)
        working = pool.submit(generate, context, running, request)
        for number in (1, 2):
            wait_for(lambda: paused(store, running.job.id))
            assert len(drawn) == number
            if number == 1:
                store.report(running.job, Progress(stage="gone on"))
                running.paused = False
        running.receive_signal(Signal.CANCEL, 0)
        assert working.result(60) == JobResult.from_pictures([])
    assert drawn == [0, 1]
    assert running.interrupted


def test_upscaling_cancelled_at_its_end_stores_nothing(
    context: JobContext, running: RunningJob, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Studio.upscale

    def told_meanwhile(*args: Any, **options: Any) -> Upscaled:
        enlarged = whole(*args, **options)
        running.receive_signal(Signal.CANCEL, 0)
        return enlarged

    monkeypatch.setattr(Studio, "upscale", told_meanwhile)
    assert upscale(context, running, picture) == JobResult.from_pictures([])
    assert running.interrupted
    assert not count_entries(context, running)


def test_a_finished_image_waits_for_the_database(
    context: JobContext, running: RunningJob, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_INTERVAL", 0.0)
    whole, failures = Gallery.add, [DatabaseBusyError(), DatabaseBusyError()]

    def add(gallery: Gallery, new: NewEntry) -> Entry:
        if failures:
            raise failures.pop()
        return whole(gallery, new)

    monkeypatch.setattr(Gallery, "add", add)
    assert upscale(context, running, picture).pictures
    assert not failures


class CallCounter:
    """Counts the calls of functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *targets: tuple[object, str]) -> None:
        self.done: Counter[str] = Counter()
        for owner, name in targets:
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.done[name] += 1
            return whole(*args, **options)

        return counted


def test_a_job_of_many_images_is_one_run_and_is_resumed(
    context: JobContext, store: JobStore, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its initial image is judged once, it is planned once, its upscaler is read once; existing images are kept."""
    from safelight.generation import engine
    from safelight.generation.upscaling import network

    counting = CallCounter(
        monkeypatch,
        (Moderator, "judge"),
        (Studio, "start"),
        (engine, "find_checkpoint"),
        (engine, "make_plan"),
        (network, "read_network"),
    )
    fields = {
        "prompt": "a red ball",
        "seed": 3,
        "count": 3,
        "width": 64,
        "height": 64,
        "steps": 2,
        "hires": {"scale": 2, "upscaler": "starter-2x", "strength": 0.9},
    }
    request = GenerationRequest.parse(**fields)
    store.submit(submission())
    running = RunningJob(claim_job(store), store)
    result = generate(context, running, request)
    assert [each.seed for each in result.pictures] == [3, 4, 5]
    assert all(each.seconds and each.verdict and each.verdict.classifier for each in result.pictures)
    assert counting.done == {"judge": 3, "start": 1, "find_checkpoint": 1, "make_plan": 2, "read_network": 1}

    context.gallery.delete(result.pictures[1].id)
    again = generate(context, running, request)
    assert [each.sha256 for each in again.pictures] == [each.sha256 for each in result.pictures]
    assert [each.seconds is None for each in again.pictures] == [True, False, True]
    assert running.partial
    assert counting.done["judge"] == 4
    assert counting.done["read_network"] == 1, "it lives in the pool"

    edit = GenerationRequest.parse(prompt="a red ball", seed=3, count=2, steps=2, init_image=picture.image)
    store.submit(submission())
    counting.done.clear()
    generate(context, RunningJob(claim_job(store), store), edit)
    assert counting.done["judge"] == 3, "the initial picture once, and both results"


def test_a_job_whose_images_all_exist_starts_no_run(
    context: JobContext, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit(submission())
    running = RunningJob(claim_job(store), store)
    context.add_entry(replace(entry(0, Decision.BLOCK), job_id=running.job.id))
    monkeypatch.setattr(Studio, "start", lambda *_, **__: pytest.fail("a run"))
    (shown,) = generate(context, running, GenerationRequest(prompt="x", seed=1)).pictures
    assert shown.decision is Decision.BLOCK
