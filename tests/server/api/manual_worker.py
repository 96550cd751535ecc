"""A worker in a thread of the test: the queue, the gallery and the image files are real, only the generation is not."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from PIL import Image

from safelight.database import blobs
from safelight.gallery import Entry, NewEntry, Relation
from safelight.generation.request import GenerationRequest
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.jobs.gallery_entries import job_result
from safelight.jobs.job import Job
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision

SIZE = (64, 32)
JobHandler = Callable[[QueueService, Job], None]


def add_entry(service: QueueService, job: Job, index: int = 0, decision: Decision = Decision.ALLOW) -> Entry:
    """Add a red image of a job, with an infotext, to the gallery."""
    seed = seed_of(job, index)
    prompt = job.request.get("prompt", "")
    words = f"{prompt}\nSteps: 4, Sampler: Euler, CFG scale: 4, Seed: {seed}, Size: 64x32, Model: starter"
    data = encode_image(Image.new("RGB", SIZE, "red"), "png", Metadata(infotext=words))
    return service.gallery.add(
        NewEntry(
            job_id=job.id,
            index=index,
            owner=job.owner,
            created=datetime.now(UTC),
            data=None if decision is Decision.BLOCK else data,
            width=SIZE[0],
            height=SIZE[1],
            decision=decision,
            unsafe=0.9 if decision is Decision.BLOCK else 0.01,
            seed=seed,
            infotext=words,
            parent_id=job.parent,
            relation=None if job.parent is None else Relation.AGAIN,
        )
    )


def seed_of(job: Job, index: int) -> int:
    """The seed of a job's image."""
    given = {name: job.request[name] for name in ("seed", "variation") if name in job.request}
    request = GenerationRequest.parse(prompt="", **given)
    return (request.seed or 0) + request.seed_offset(index)


def generate_images(*decisions: Decision) -> JobHandler:
    """A handler that adds an image for each decision; without decisions, as many allowed images as the job requests."""

    def work(service: QueueService, job: Job) -> None:
        wanted = decisions or (Decision.ALLOW,) * int(str(job.request.get("count", 1)))
        entries = [add_entry(service, job, index, decision) for index, decision in enumerate(wanted)]
        service.store.succeed(job, job_result(entries).to_dict(), 0.1)

    return work


class StartedJobs(list[Job]):
    """The jobs that were started; ``files`` are the input images of each, which are deleted when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.input_files: list[dict[str, bytes]] = []

    def add(self, service: QueueService, job: Job) -> None:
        """Add a job and read its input images."""
        names = [name for name in ("init_image", "mask") if name in job.request]
        with service.read_transaction() as connection:
            found = {name: blobs.get(connection, job.request[name]["blob"]) for name in names}  # type: ignore[index, call-overload]
        self.input_files.append(found)
        self.append(job)

    def input_image(self, number: int, name: str) -> Image.Image:
        """An input image of a started job."""
        return Image.open(io.BytesIO(self.input_files[number][name]))


@contextmanager
def run_worker(service: QueueService, handler: JobHandler | None = None) -> Iterator[StartedJobs]:
    """Run each submitted job, one after the other; yields the jobs that it has started."""
    begun = StartedJobs()
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.02):
            if (job := service.store.claim("by-hand")) is not None:
                begun.add(service, job)
                (handler or generate_images())(service, job)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield begun
    finally:
        over.set()
        thread.join()
