"""The client: one method for each thing that a server does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
from pydantic import ValidationError

from safelight.client.connection import FINAL, Connection
from safelight.client.models import (
    DrawnPicture,
    EntryPage,
    EntryRecord,
    EntryView,
    Event,
    FacetsView,
    GenerateJob,
    Job,
    JobPage,
    JobResult,
    Model,
    ModelList,
    PictureVerdict,
    SamplerList,
    SamplerView,
    ScanJob,
    StyleList,
    StyleView,
    SystemView,
    UpscaleJob,
    Verdicts,
)
from safelight.errors import FileMissingError, NoResultError, RequestError, error_of
from safelight.validation import first_problem

AnyJob = GenerateJob | UpscaleJob | ScanJob
PictureFile = bytes | str | PathLike[str]
"""A picture file's content, or its path."""
FileKind = Literal["png", "jpeg", "webp"]


class Client:
    """A Safelight server.

    Args:
        url: Its address.
        key: Where it wants one (``safelight keys add``).
        timeout: Seconds to wait for an answer; following a job takes as long as the job.
        transport: Another way to get there, for tests.

    Raises:
        SettingsError: The address is none. Every method raises the server's own errors, and ServerError where it cannot
            be reached or understood.

    Example:
        >>> with Client() as client:
        ...     (picture,) = client.generate("a red apple, 3d style", seed=7)
        ...     Path("apple.png").write_bytes(client.file(picture.id))
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:7860",
        key: str | None = None,
        *,
        timeout: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._server = Connection(url, key, timeout, transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def generate(
        self,
        prompt: str,
        *,
        init_image: PictureFile | None = None,
        mask: PictureFile | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
        **fields: Any,
    ) -> list[DrawnPicture]:
        """Draw pictures and wait for them; what the policy blocks has no file.

        Args:
            prompt: What to draw.
            init_image: The picture to start from.
            mask: White where it is drawn anew.
            on_event: Told of everything that happens on the way.
            fields: The other fields of ``GenerateJob``.
        """
        given = {"init_image": init_image, "mask": mask}
        pictures = {name: encoded(value) for name, value in given.items() if value is not None}
        job = self.submit(_checked(GenerateJob, {"prompt": prompt, **fields, **pictures}))
        return list(self.outcome(self.wait(job.id, on_event)).pictures)

    def upscale(self, image: PictureFile, *, by: float = 2.0, upscaler: str = "lanczos") -> DrawnPicture:
        """Enlarge a picture and wait for it."""
        job = self.submit(UpscaleJob(image=encoded(image), by=by, upscaler=upscaler))
        return self.outcome(self.wait(job.id)).pictures[0]

    def submit(self, job: AnyJob, *, idempotency_key: str | None = None) -> Job:
        """Queue a job.

        Args:
            job: What to do, with pictures as ``encoded`` text.
            idempotency_key: The same key again gives the job it gave the first time.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = job.model_dump(mode="json", exclude_unset=True) | {"kind": job.kind}
        return self._server.send("POST", "/v1/jobs", Job, json=body, headers=headers)

    def job(self, job_id: str) -> Job:
        """Look at a job."""
        return self._server.get(f"/v1/jobs/{job_id}", Job)

    def jobs(
        self,
        *,
        states: Sequence[str] = (),
        kind: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """A page of jobs, the newest first; give its ``next`` as ``before`` for the next one."""
        query = {"state": list(states), "kind": kind, "before": before, "limit": limit}
        return self._server.get("/v1/jobs", JobPage, query)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; finished pictures stay."""
        return self._server.send("DELETE", f"/v1/jobs/{job_id}", Job)

    def finish(self, job_id: str) -> Job:
        """Have a job end with the picture on its way as far as it got."""
        return self._server.send("POST", f"/v1/jobs/{job_id}/finish", Job)

    def skip(self, job_id: str) -> Job:
        """Leave the picture on its way, go on with the next."""
        return self._server.send("POST", f"/v1/jobs/{job_id}/skip", Job)

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """What happens to a job until it has ended; a broken connection is made again."""
        return self._server.events(f"/v1/jobs/{job_id}/events", after)

    def wait(self, job_id: str, on_event: Callable[[Event], None] = lambda _: None) -> Job:
        """Wait until a job has ended, however it ends."""
        for event in self.events(job_id):
            on_event(event)
        return self._server.get_patiently(f"/v1/jobs/{job_id}", Job)

    def outcome(self, job: Job) -> JobResult:
        """What an ended job gave.

        Raises:
            SafelightError: What it failed with.
            NoResultError: It was cancelled before there was anything, or has not ended.
        """
        if job.error is not None:
            raise error_of(job.error.code, job.error.message, job.error.hint)
        if job.state not in FINAL or job.result is None:
            raise NoResultError(f"The job {job.id} is {job.state}, without a result.")
        return JobResult.model_validate(job.result)

    def result(self, job_id: str) -> JobResult:
        """What a job gave; the errors are those of ``outcome``."""
        return self._server.send(
            "GET", f"/v1/jobs/{job_id}/result", JobResult, headers={"Accept": "application/json"}
        )

    def picture(self, job_id: str, index: int = 0, kind: FileKind = "png", *, quality: int = 95) -> bytes:
        """A job's picture as a file.

        Args:
            job_id: The job, which has ended.
            index: Which of its pictures, from 0.
            kind: The file's format.
            quality: 1 to 100, of JPEG and WebP.
        """
        query = {"picture": index, "quality": quality}
        return self._server.data(f"/v1/jobs/{job_id}/result", query, accept=f"image/{kind}")

    def preview(self, job_id: str) -> bytes:
        """The newest preview of the picture on its way, WebP."""
        return self._server.data(f"/v1/jobs/{job_id}/preview")

    def moderate(
        self,
        *pictures: PictureFile,
        classifier: str | None = None,
        policy: str | None = None,
        embeddings: bool = False,
    ) -> list[PictureVerdict]:
        """Judge up to 64 pictures; one that cannot be read has the decision ``error``.

        Args:
            pictures: The files.
            classifier: An installed one; the server's own when not given.
            policy: strict, standard or lenient; the server's own when not given.
            embeddings: Whether to give the classifier's features too.
        """
        query = {"classifier": classifier, "policy": policy, "embeddings": embeddings or None}
        params = {name: value for name, value in query.items() if value is not None}
        files = [("images", ("picture", _content(picture))) for picture in pictures]
        return self._server.send("POST", "/v1/moderate", Verdicts, params=params, files=files).verdicts

    def models(self, kind: str | None = None) -> list[Model]:
        """What can be named in a request: checkpoints, classifiers, upscalers, or one kind of them."""
        return self._server.get("/v1/models", ModelList, {"kind": kind}).data

    def samplers(self) -> list[SamplerView]:
        """The samplers."""
        return self._server.get("/v1/samplers", SamplerList).samplers

    def styles(self) -> list[StyleView]:
        """The prompt styles."""
        return self._server.get("/v1/styles", StyleList).styles

    def system(self) -> SystemView:
        """What runs there, and how it is."""
        return self._server.get("/v1/system", SystemView)

    def search(self, query: str = "", *, after: str | None = None, **filters: Any) -> EntryPage:
        """A page of the gallery.

        Args:
            query: Words in prompt, negative prompt or infotext.
            after: The page before's ``next``.
            filters: checkpoint, sampler, decision, seed, job_id, tag, favourite, min_width, max_width, min_height,
                max_height, since, until, order, limit.
        """
        return self._server.get("/v1/gallery", EntryPage, {"query": query or None, "after": after, **filters})

    def entries(self, query: str = "", **filters: Any) -> Iterator[EntryView]:
        """All that ``search`` finds, page after page."""
        after = None
        while True:
            page = self.search(query, after=after, **filters)
            yield from page.entries
            if (after := page.next) is None:
                return

    def facets(self) -> FacetsView:
        """How many pictures there are, by what they can be filtered by."""
        return self._server.get("/v1/gallery/facets", FacetsView)

    def entry(self, entry_id: str) -> EntryRecord:
        """All that is known of a picture."""
        return self._server.get(f"/v1/gallery/{entry_id}", EntryRecord)

    def file(self, entry_id: str) -> bytes:
        """A picture's file, as it was written."""
        return self._server.data(f"/v1/gallery/{entry_id}/file")

    def thumbnail(self, entry_id: str, side: int = 256) -> bytes:
        """A picture made small, WebP."""
        return self._server.data(f"/v1/gallery/{entry_id}/thumbnail", {"side": side})

    def mark(
        self, entry_id: str, *, favourite: bool | None = None, tags: Sequence[str] | None = None
    ) -> EntryRecord:
        """Make a picture a favourite or not, or give it tags."""
        marks: Mapping[str, Any] = {"favourite": favourite, "tags": None if tags is None else list(tags)}
        body = {name: value for name, value in marks.items() if value is not None}
        return self._server.send("PATCH", f"/v1/gallery/{entry_id}", EntryRecord, json=body)

    def delete(self, entry_id: str) -> None:
        """Delete a picture with its record."""
        self._server.answer("DELETE", f"/v1/gallery/{entry_id}")


def encoded(picture: PictureFile) -> str:
    """A picture file as text, for a job's fields."""
    return base64.b64encode(_content(picture)).decode()


def _content(picture: PictureFile) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise FileMissingError(f"{picture} cannot be read: {error.strerror or error}.") from error


def _checked(kind: type[GenerateJob], fields: Mapping[str, Any]) -> GenerateJob:
    """A job from loose values; what they may be is for the server to say."""
    try:
        return kind(kind="generate", **fields)
    except ValidationError as error:
        raise RequestError(f"{first_problem(error)}.") from error
