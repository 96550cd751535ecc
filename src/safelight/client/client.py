"""The client: one method per operation of the server."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
from pydantic import ValidationError

from safelight.client.connection import FINAL_STATES, Connection
from safelight.client.models import (
    CancelOutcome,
    CancelOutcomes,
    ClearedJobs,
    CollectionList,
    CollectionView,
    ControlList,
    DeletedEntries,
    EntryOutcome,
    EntryPage,
    EntryRecord,
    EntryView,
    Event,
    FacetsView,
    GeneratedImage,
    GenerateJob,
    Job,
    JobPage,
    JobResult,
    MarkedEntries,
    MarkedEntry,
    Model,
    ModelList,
    PictureVerdict,
    PreferencesView,
    PreprocessJob,
    PreprocessorList,
    PreprocessorView,
    QueueView,
    SamplerList,
    SamplerView,
    ScanJob,
    SettingList,
    SettingView,
    StyleList,
    StyleView,
    SystemView,
    UpscaleJob,
    Verdicts,
)
from safelight.errors import FileMissingError, ResultMissingError, error_of, field_error
from safelight.validation import first_problem

AnyJob = GenerateJob | UpscaleJob | PreprocessJob | ScanJob
ImageFile = bytes | str | PathLike[str]
"""The content of an image file, or its path."""
FileFormat = Literal["png", "jpeg", "webp"]


class Client:
    """A client of a Safelight server.

    Args:
        url: The server's address.
        key: An API key, where the server requires one (``safelight keys add``).
        timeout: Seconds to wait for a response; waiting for a job is not limited.
        transport: Another HTTP transport, for tests.

    Raises:
        SettingsError: The address is invalid. Every method raises the server's own errors, and ServerError where the
            server cannot be reached or its response cannot be parsed.

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
        self._connection = Connection(url, key, timeout, transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._connection.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def generate(
        self,
        prompt: str,
        *,
        init_image: ImageFile | None = None,
        mask: ImageFile | None = None,
        references: Sequence[ImageFile] = (),
        on_event: Callable[[Event], None] = lambda _: None,
        **fields: Any,
    ) -> list[GeneratedImage]:
        """Generate pictures and wait for them; a picture that the policy blocks has no file.

        Args:
            prompt: What to generate.
            init_image: The initial picture.
            mask: White where the initial picture is repainted.
            references: Pictures that the model looks at.
            on_event: Called with every event of the job.
            fields: The other fields of ``GenerateJob``.
        """
        given = {"init_image": init_image, "mask": mask}
        pictures = {name: encode_file(value) for name, value in given.items() if value is not None}
        if references:
            fields["references"] = [{"image": encode_file(each)} for each in references]
        job = self.submit(_validated_job(GenerateJob, {"prompt": prompt, **fields, **pictures}))
        return list(self.outcome(self.wait(job.id, on_event)).pictures)

    def upscale(
        self,
        image: ImageFile | None = None,
        *,
        by: float = 2.0,
        upscaler: str = "lanczos",
        parent: str | None = None,
    ) -> GeneratedImage:
        """Upscale a picture and wait for it.

        Args:
            image: The picture; that of ``parent`` when not given.
            by: Factor on width and height.
            upscaler: Its name.
            parent: The id of the picture in the gallery; the new one inherits prompt and seed.
        """
        fields: dict[str, Any] = {"by": by, "upscaler": upscaler}
        if image is not None:
            fields["image"] = encode_file(image)
        if parent is not None:
            fields["parent"] = parent
        job = self.submit(UpscaleJob(**fields))
        return self.outcome(self.wait(job.id)).pictures[0]

    def submit(self, job: AnyJob, *, idempotency_key: str | None = None) -> Job:
        """Queue a job.

        Args:
            job: The job, with pictures as ``encode_file`` text.
            idempotency_key: Repeating a key returns the job of its first request.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = job.model_dump(mode="json", exclude_unset=True) | {"kind": job.kind}
        return self._connection.send("POST", "/v1/jobs", Job, json=body, headers=headers)

    def job(self, job_id: str) -> Job:
        """Get a job."""
        return self._connection.get(f"/v1/jobs/{job_id}", Job)

    def jobs(
        self,
        *,
        states: Sequence[str] = (),
        kind: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """A page of jobs, newest first; pass its ``next`` as ``before`` to get the next page."""
        query = {"state": list(states), "kind": kind, "before": before, "limit": limit}
        return self._connection.get("/v1/jobs", JobPage, query)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; finished pictures are kept."""
        return self._connection.send("DELETE", f"/v1/jobs/{job_id}", Job)

    def finish(self, job_id: str) -> Job:
        """End a job with the picture in progress as it is."""
        return self._connection.send("POST", f"/v1/jobs/{job_id}/finish", Job)

    def skip(self, job_id: str) -> Job:
        """Discard the picture in progress and continue with the next."""
        return self._connection.send("POST", f"/v1/jobs/{job_id}/skip", Job)

    def cancel_jobs(self, job_ids: Sequence[str] | None = None) -> list[CancelOutcome]:
        """Cancel several jobs, up to 1,000; all of one's own that wait when none are given. Says what happened."""
        body = {"state": "queued"} if job_ids is None else {"ids": list(job_ids)}
        return self._connection.send("POST", "/v1/jobs/cancel", CancelOutcomes, json=body).jobs

    def clear_jobs(self, job_ids: Sequence[str] | None = None) -> int:
        """Leave ended jobs out of ``jobs``; all of one's own when none are given. Returns their number."""
        body = {} if job_ids is None else {"ids": list(job_ids)}
        return self._connection.send("POST", "/v1/jobs/clear", ClearedJobs, json=body).cleared

    def move(self, job_id: str, before: str | None = None) -> Job:
        """Move a queued job before another one of the same owner and priority, or behind all of them."""
        return self._connection.send("POST", f"/v1/jobs/{job_id}/move", Job, json={"before": before})

    def queue(self) -> QueueView:
        """Whether the queue is paused, and the places of the jobs in it."""
        return self._connection.get("/v1/queue", QueueView)

    def pause(self) -> QueueView:
        """Start no further job, as an administrator; running jobs continue."""
        return self._connection.send("POST", "/v1/queue/pause", QueueView)

    def resume(self) -> QueueView:
        """Start jobs again, as an administrator."""
        return self._connection.send("POST", "/v1/queue/resume", QueueView)

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """The events of a job until it has ended; a broken connection is reopened."""
        return self._connection.events(f"/v1/jobs/{job_id}/events", after)

    def wait(self, job_id: str, on_event: Callable[[Event], None] = lambda _: None) -> Job:
        """Wait until a job has ended, in whatever state."""
        for event in self.events(job_id):
            on_event(event)
        return self._connection.get_with_retry(f"/v1/jobs/{job_id}", Job)

    def outcome(self, job: Job) -> JobResult:
        """The result of a finished job.

        Raises:
            SafelightError: The error the job failed with.
            ResultMissingError: The job was cancelled before it had a result, or has not ended.
        """
        if job.error is not None:
            raise error_of(
                job.error.code, job.error.message, job.error.hint, job.error.field, job.error.context
            )
        if job.state not in FINAL_STATES or job.result is None:
            raise ResultMissingError(f"The job {job.id} is {job.state}, without a result.")
        return JobResult.model_validate(job.result)

    def result(self, job_id: str) -> JobResult:
        """The result of a job; raises the same errors as ``outcome``."""
        return self._connection.send(
            "GET", f"/v1/jobs/{job_id}/result", JobResult, headers={"Accept": "application/json"}
        )

    def picture(self, job_id: str, index: int = 0, kind: FileFormat = "png", *, quality: int = 95) -> bytes:
        """A picture of a job as a file.

        Args:
            job_id: The job, which has ended.
            index: Index of the picture in the job, from 0.
            kind: The file format.
            quality: 1 to 100, for JPEG and WebP.
        """
        query = {"picture": index, "quality": quality}
        return self._connection.get_bytes(f"/v1/jobs/{job_id}/result", query, accept=f"image/{kind}")

    def preview(self, job_id: str) -> bytes:
        """The newest preview of the picture in progress, WebP."""
        return self._connection.get_bytes(f"/v1/jobs/{job_id}/preview")

    def moderate(
        self,
        *pictures: ImageFile,
        classifier: str | None = None,
        policy: str | None = None,
        embeddings: bool = False,
    ) -> list[PictureVerdict]:
        """Judge up to 64 pictures; a picture that cannot be read has the decision ``error``.

        Args:
            pictures: The files.
            classifier: An installed classifier; the server's default when not given.
            policy: strict, standard or lenient; the server's default when not given.
            embeddings: Whether to return the classifier's embeddings.
        """
        query = {"classifier": classifier, "policy": policy, "embeddings": embeddings or None}
        params = {name: value for name, value in query.items() if value is not None}
        files = [("images", ("picture", _read_content(picture))) for picture in pictures]
        return self._connection.send("POST", "/v1/moderate", Verdicts, params=params, files=files).verdicts

    def preprocess(
        self,
        picture: ImageFile,
        preprocessor: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        resolution: int | None = None,
    ) -> bytes:
        """The picture that a preprocessor makes of another, as a PNG.

        Args:
            picture: The file.
            preprocessor: Its name.
            parameters: Its parameters by name.
            resolution: The result's shorter side, in pixels; None: as large as the picture.
        """
        body = {
            "image": encode_file(picture),
            "preprocessor": preprocessor,
            "parameters": dict(parameters or {}),
            "resolution": resolution,
        }
        return self._connection.request("POST", "/v1/preprocess", json=body).content

    def segment(
        self,
        picture: ImageFile,
        points: Sequence[tuple[float, float, bool]] = (),
        box: tuple[float, float, float, float] | None = None,
        *,
        model: str | None = None,
    ) -> bytes:
        """The mask of an object of a picture, white on black, as a PNG.

        Args:
            picture: The file.
            points: Pixels from the left and from the top, and whether the object is there.
            box: A box around it: left, top, right, bottom in pixels.
            model: A model for masks on the server; its usual one when not given.
        """
        body: dict[str, Any] = {
            "image": encode_file(picture),
            "points": [{"x": x, "y": y, "inside": inside} for x, y, inside in points],
        }
        if box is not None:
            body["box"] = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
        if model is not None:
            body["model"] = model
        return self._connection.request("POST", "/v1/segment", json=body).content

    def preprocessors(self) -> list[PreprocessorView]:
        """The preprocessors with their parameters."""
        return self._connection.get("/v1/preprocessors", PreprocessorList).preprocessors

    def controls(self) -> ControlList:
        """The networks that steer a generation, and the kinds of pictures that they take."""
        return self._connection.get("/v1/controls", ControlList)

    def models(self, kind: str | None = None) -> list[Model]:
        """The models that requests may name: checkpoints, classifiers, upscalers, or one kind of them."""
        return self._connection.get("/v1/models", ModelList, {"kind": kind}).data

    def samplers(self) -> list[SamplerView]:
        """The samplers."""
        return self._connection.get("/v1/samplers", SamplerList).samplers

    def styles(self) -> list[StyleView]:
        """The prompt styles."""
        return self._connection.get("/v1/styles", StyleList).styles

    def system(self) -> SystemView:
        """Versions, machine, workers and queue of the server."""
        return self._connection.get("/v1/system", SystemView)

    def settings(self) -> list[SettingView]:
        """The server's settings, as an administrator: first those that can be changed while it runs."""
        return self._connection.get("/v1/settings", SettingList).settings

    def change_settings(self, changes: Mapping[str, Any]) -> list[SettingView]:
        """Change settings while the server runs, as an administrator; None returns to the configured value."""
        return self._connection.send("PATCH", "/v1/settings", SettingList, json=dict(changes)).settings

    def preferences(self) -> PreferencesView:
        """How the page is for this user."""
        return self._connection.get("/v1/preferences", PreferencesView)

    def change_preferences(self, **changes: Any) -> PreferencesView:
        """Change preferences; None removes one."""
        return self._connection.send("PATCH", "/v1/preferences", PreferencesView, json=changes)

    def search(self, query: str = "", *, after: str | None = None, **filters: Any) -> EntryPage:
        """A page of the gallery.

        Args:
            query: Words in prompt, negative prompt or infotext, "phrases", -excluded words, and OR.
            after: The previous page's ``next``.
            filters: checkpoint, sampler, decision, seed, job_id, tag, collection, parent, favourite, min_width,
                max_width, min_height, max_height, since, until, sort, limit.
        """
        return self._connection.get(
            "/v1/gallery", EntryPage, {"query": query or None, "after": after, **filters}
        )

    def entries(self, query: str = "", **filters: Any) -> Iterator[EntryView]:
        """All entries that ``search`` finds, over all pages."""
        after = None
        while True:
            page = self.search(query, after=after, **filters)
            yield from page.entries
            if (after := page.next) is None:
                return

    def facets(self) -> FacetsView:
        """The number of pictures by each filter's values."""
        return self._connection.get("/v1/gallery/facets", FacetsView)

    def entry(self, entry_id: str) -> EntryRecord:
        """All metadata of a picture."""
        return self._connection.get(f"/v1/gallery/{entry_id}", EntryRecord)

    def file(self, entry_id: str) -> bytes:
        """A picture's file, as it was written."""
        return self._connection.get_bytes(f"/v1/gallery/{entry_id}/file")

    def thumbnail(self, entry_id: str, side: int = 256) -> bytes:
        """A scaled-down copy of a picture, WebP."""
        return self._connection.get_bytes(f"/v1/gallery/{entry_id}/thumbnail", {"side": side})

    def mark(
        self, entry_id: str, *, favourite: bool | None = None, tags: Sequence[str] | None = None
    ) -> EntryRecord:
        """Set or clear a picture's favourite flag, or set its tags."""
        marks: Mapping[str, Any] = {"favourite": favourite, "tags": None if tags is None else list(tags)}
        body = {name: value for name, value in marks.items() if value is not None}
        return self._connection.send("PATCH", f"/v1/gallery/{entry_id}", EntryRecord, json=body)

    def mark_many(
        self,
        entry_ids: Sequence[str],
        *,
        favourite: bool | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        add_to: Sequence[str] = (),
        remove_from: Sequence[str] = (),
    ) -> list[MarkedEntry]:
        """Change the marks on up to 1,000 pictures; each result has the new marks, or an error.

        Args:
            entry_ids: The pictures.
            favourite: Set or clear the favourite flag.
            add_tags: Tags to add.
            remove_tags: Tags to remove.
            add_to: Ids of collections to add them to.
            remove_from: Ids of collections to remove them from.
        """
        lists = {
            "add_tags": add_tags,
            "remove_tags": remove_tags,
            "add_to": add_to,
            "remove_from": remove_from,
        }
        body: dict[str, Any] = {"ids": list(entry_ids)} | {name: list(given) for name, given in lists.items()}
        if favourite is not None:
            body["favourite"] = favourite
        return self._connection.send("PATCH", "/v1/gallery", MarkedEntries, json=body).results

    def delete(self, entry_id: str) -> None:
        """Delete a picture with its record."""
        self._connection.request("DELETE", f"/v1/gallery/{entry_id}")

    def delete_many(self, entry_ids: Sequence[str]) -> list[EntryOutcome]:
        """Delete up to 1,000 pictures; a result with an error is of a picture that was not deleted."""
        body = {"ids": list(entry_ids)}
        return self._connection.send("POST", "/v1/gallery/delete", DeletedEntries, json=body).results

    def download(self, entry_ids: Sequence[str]) -> Iterator[bytes]:
        """The parts of a zip archive with the files of up to 1,000 pictures, as they arrive.

        Pictures without a file, such as blocked ones, are listed in ``not-included.txt`` in it.

        Example:
            >>> with open("pictures.zip", "wb") as file:
            ...     file.writelines(client.download(ids))
        """
        return self._connection.stream("POST", "/v1/gallery/download", json={"ids": list(entry_ids)})

    def collections(self) -> list[CollectionView]:
        """The collections of the gallery."""
        return self._connection.get("/v1/collections", CollectionList).collections

    def add_collection(self, name: str) -> CollectionView:
        """Make an empty collection; ``mark_many`` adds pictures."""
        return self._connection.send("POST", "/v1/collections", CollectionView, json={"name": name})

    def rename_collection(self, collection_id: str, name: str) -> CollectionView:
        """Give a collection another name."""
        path = f"/v1/collections/{collection_id}"
        return self._connection.send("PATCH", path, CollectionView, json={"name": name})

    def delete_collection(self, collection_id: str) -> None:
        """Delete a collection; its pictures stay in the gallery."""
        self._connection.request("DELETE", f"/v1/collections/{collection_id}")


def encode_file(image: ImageFile) -> str:
    """Encode an image file as base64, for a job's fields."""
    return base64.b64encode(_read_content(image)).decode()


def _read_content(image: ImageFile) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise FileMissingError(f"{image} cannot be read: {error.strerror or error}.") from error


def _validated_job(job_type: type[GenerateJob], fields: Mapping[str, Any]) -> GenerateJob:
    """Validate a job's types from keyword arguments; the server validates the values."""
    try:
        return job_type(kind="generate", **fields)
    except ValidationError as error:
        problem = first_problem(error)
        raise field_error(problem, f"{problem}.") from error
