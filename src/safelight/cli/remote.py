"""Generating, enlarging and judging by a Safelight server, with the same lines and exit statuses as on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.atomic_write import atomic_write
from safelight.cli.console import exit_with_status, print_json, print_line, print_stderr, printable
from safelight.cli.generation import OutputTarget, StepProgress, StopRequest
from safelight.errors import JobEndedError, ResultMissingError, SafelightError, UsageError

if TYPE_CHECKING:
    import queue
    from pathlib import Path

    from safelight.client import Client
    from safelight.client.models import EntryRecord, Event, GeneratedImage, Job
    from safelight.generation.request import GenerationRequest
    from safelight.images import ImageSource
    from safelight.settings import Settings

ServerOption = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Have a Safelight server do it.", show_default=False),
]
MAX_CONCURRENT, READ_AHEAD = 4, 32
"""How many pictures are judged at the same time, and how many are read ahead."""


def connect(settings: Settings) -> Client:
    """The server that the settings name."""
    from safelight.client import Client

    return Client(settings.server, settings.key.get_secret_value() or None)


def check_no_local_options(settings: Settings, **options: object) -> None:
    """Refuse options that have no meaning for a server.

    Args:
        settings: With the server.
        options: Values by the option's name; None and False were not given.

    Raises:
        UsageError: One was given.
    """
    for name, value in options.items():
        if value is not None and value is not False:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} does not go together with the server {settings.server}, which decides that."
            )


def generate_and_write(
    settings: Settings,
    request: GenerationRequest,
    checkpoint: str | None,
    target: OutputTarget,
    *,
    keep_partial: bool,
    json: bool,
) -> None:
    """Have pictures generated, write them, and exit with the contract's status; after Ctrl-C that is 130."""
    from safelight.client import GenerateJob
    from safelight.client.client import encode_file
    from safelight.images.fields import replace_images

    given = request.model_dump(exclude_unset=True)
    fields = replace_images(type(request), given, lambda found: encode_file(found.value))
    if (
        checkpoint is not None and fields.get("checkpoint") is None
    ):  # as on this machine, --set takes precedence
        fields["checkpoint"] = checkpoint
    stop = StopRequest()
    with connect(settings) as client, stop.handle_sigint():
        ended = follow(client, client.submit(GenerateJob(**fields)), stop, keep_partial=keep_partial)
        flagged = 0
        for picture in _result_images(client, ended, stopped=stop.requested):
            entry = client.entry(picture.id)
            words = str((entry.record or {}).get("expanded_prompt", entry.prompt))
            path = _download(client, ended, picture, target, words)
            flagged += picture.decision != "allow"
            row = _generated_row(ended, picture, entry, path)
            _print_row(row, f"seed {picture.seed}, {row['seconds']:.1f} s", json=json)
    if stop.requested:
        raise typer.Exit(130)
    exit_with_status(flagged)


def upscale_and_write(
    settings: Settings, image: Path, by: float, upscaler: str, target: OutputTarget, *, json: bool
) -> None:
    """Have a picture enlarged, write it, and exit with the contract's status."""
    from safelight.client import UpscaleJob
    from safelight.client.client import encode_file

    stop = StopRequest()
    with connect(settings) as client, stop.handle_sigint():
        job = client.submit(UpscaleJob(image=encode_file(image), by=by, upscaler=upscaler))
        ended = follow(client, job, stop, keep_partial=False)
        flagged = 0
        for picture in _result_images(client, ended, stopped=stop.requested):
            path = _download(client, ended, picture, target, image.stem)
            flagged += picture.decision != "allow"
            row = {
                "path": None if path is None else str(path),
                "width": picture.width or None,
                "height": picture.height or None,
                "upscaler": upscaler,
                "factor": by,
                "seconds": _seconds_per_image(ended, picture),
                "verdict": _verdict(picture, client.entry(picture.id)),
            }
            _print_row(row, f"{picture.width} x {picture.height}", json=json)
    if stop.requested:
        raise typer.Exit(130)
    exit_with_status(flagged)


def preprocess_and_write(
    settings: Settings,
    image: Path,
    preprocessor: str,
    parameters: Mapping[str, Any],
    resolution: int | None,
    target: OutputTarget,
    *,
    json: bool,
) -> None:
    """Have a picture preprocessed, write the result, and exit with the contract's status."""
    from safelight.images import decode
    from safelight.images.encoding import encode_image

    started = time.perf_counter()
    with connect(settings) as client:
        data = client.preprocess(image, preprocessor, parameters, resolution=resolution)
        seconds = time.perf_counter() - started
        (verdict,) = client.moderate(data)
    made = decode(data).image
    path = target.free_path(f"{image.stem} {preprocessor}", None)
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_image(made, target.file_format, quality=target.quality))
    row = {
        "path": str(path),
        "width": made.width,
        "height": made.height,
        "preprocessor": preprocessor,
        "parameters": dict(parameters),
        "seconds": round(seconds, 3),
        "verdict": verdict.model_dump(mode="json", exclude={"index", "embedding"}),
    }
    _print_row(row, f"{made.width} x {made.height}", json=json)
    exit_with_status(verdict.decision != "allow")


def segment_and_write(
    settings: Settings,
    image: Path,
    points: Sequence[tuple[float, float, bool]],
    box: tuple[float, float, float, float] | None,
    model: str | None,
    path: Path,
    *,
    json: bool,
) -> None:
    """Have the mask of an object made, write it, and exit with the contract's status."""
    from safelight.images import decode

    started = time.perf_counter()
    with connect(settings) as client:
        data = client.segment(image, points, box, model=model)
        seconds = time.perf_counter() - started
        (verdict,) = client.moderate(data)
    made = decode(data).image
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    row = {
        "path": str(path),
        "width": made.width,
        "height": made.height,
        "seconds": round(seconds, 3),
        "verdict": verdict.model_dump(mode="json", exclude={"index", "embedding"}),
    }
    _print_row(row, f"{made.width} x {made.height}", json=json)
    exit_with_status(verdict.decision != "allow")


def follow(client: Client, job: Job, stop: StopRequest, *, keep_partial: bool) -> Job:
    """Show a job's progress until it has ended; when asked to stop, cancel it, or finish it early."""
    import queue

    arrived: queue.Queue[Event | SafelightError | None] = queue.Queue()
    threading.Thread(
        target=_forward_events, args=(client, job.id, arrived), daemon=True, name="events"
    ).start()
    steps, signalled = StepProgress(), False
    if job.position is not None and job.position > 1:
        print_stderr(f"Place {job.position} in the queue of {client.url}")
    try:
        while True:
            if stop.requested and not signalled:
                signalled = True
                with suppress(JobEndedError):
                    client.finish(job.id) if keep_partial else client.cancel(job.id)
            with suppress(queue.Empty):
                event = arrived.get(timeout=0.1)  # no longer, so that Ctrl-C is heard
                if event is None:
                    return client.job(job.id)
                if isinstance(event, SafelightError):
                    raise event
                _show_progress(steps, event)
    finally:
        steps.clear()


def judge(
    client: Client,
    sources: Iterable[tuple[str, ImageSource]],
    *,
    classifier: str | None,
    policy: str | None,
    embeddings: bool,
    max_bytes: int,
) -> Iterator[dict[str, Any]]:
    """Have pictures judged, several at once; returns their lines in order, also for those that cannot be read."""
    from concurrent.futures import ThreadPoolExecutor

    from safelight.images.reader import read_bytes
    from safelight.moderation.verdict import Judgement

    def judged(named: tuple[str, ImageSource]) -> dict[str, Any]:
        name, source = named
        try:
            data = read_bytes(source, max_bytes)
        except SafelightError as error:
            return Judgement(name, error=error).to_dict()
        (verdict,) = client.moderate(data, classifier=classifier, policy=policy, embeddings=embeddings)
        left_out = {"index"} if embeddings else {"index", "embedding"}
        return {"path": name} | verdict.model_dump(mode="json", exclude=left_out)

    stream = iter(sources)
    with ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="judge") as pool:
        while some := list(islice(stream, READ_AHEAD)):
            yield from pool.map(judged, some)


def _forward_events(client: Client, job_id: str, events: queue.Queue[Event | SafelightError | None]) -> None:
    try:
        for event in client.events(job_id):
            events.put(event)
    except SafelightError as error:
        events.put(error)
    else:
        events.put(None)


def _show_progress(steps: StepProgress, event: Event) -> None:
    if event.kind == "progress":
        data = event.data
        steps.show(
            f"picture {data['picture'] + 1} of {data['pictures']}, {data['stage']}: {data['step']}/{data['steps']}"
        )


def _result_images(client: Client, job: Job, *, stopped: bool) -> list[GeneratedImage]:
    """The pictures of an ended job; none, if it was stopped from here before the first one."""
    try:
        return list(client.outcome(job).pictures)
    except ResultMissingError:
        if stopped:
            return []
        raise


def _download(
    client: Client, job: Job, picture: GeneratedImage, target: OutputTarget, text: str
) -> Path | None:
    """Write a picture; None where the policy blocks it."""
    if picture.url is None:
        return None
    data = client.picture(job.id, picture.index, target.file_format, quality=target.quality)
    path = target.free_path(text, picture.seed)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path


def _seconds_per_image(job: Job, picture: GeneratedImage) -> float:
    """What generating a picture took; its share of the job's time where the server does not say."""
    if picture.seconds is not None:
        return picture.seconds
    if job.started is None or job.ended is None:
        return 0.0
    pictures = (job.result or {}).get("pictures") or [None]
    return round((job.ended - job.started).total_seconds() / len(pictures), 3)


def _generated_row(
    job: Job, picture: GeneratedImage, entry: EntryRecord, path: Path | None
) -> dict[str, Any]:
    """The line of a picture, as ``Picture.to_dict`` makes it on this machine."""
    return {
        "path": None if path is None else str(path),
        "seed": picture.seed,
        "width": picture.width,
        "height": picture.height,
        "steps": picture.steps,
        "sampler": picture.sampler,
        "checkpoint": picture.checkpoint,
        "control": [
            {name: each.get(name) for name in ("name", "kind", "weight")}
            for each in (entry.record or {}).get("control", ())
        ],
        "references": [each["image"] for each in (entry.record or {}).get("references", ())],
        "adapters": (entry.record or {}).get("adapters", []),
        "seconds": _seconds_per_image(job, picture),
        "stopped_at": picture.stopped_at,
        "memory": None if picture.memory is None else picture.memory.model_dump(mode="json"),
        "notes": list(picture.notes),
        "verdict": _verdict(picture, entry),
    }


def _verdict(picture: GeneratedImage, entry: EntryRecord) -> dict[str, Any]:
    """A picture's verdict; what the gallery keeps of it where an earlier attempt of the job made the picture."""
    if picture.verdict is not None:
        return picture.verdict.model_dump(mode="json")
    kept = (entry.record or {}).get("verdict") or {}
    return {
        "decision": picture.decision,
        "scores": picture.scores,
        "unsafe": picture.unsafe,
        "embedding_dim": None,
        "classifier": None,
        "policy": {"name": entry.policy, "version": kept.get("version"), "digest": kept.get("digest")},
        "frame": 0,
        "tile": None,
        "notes": [],
        "error": None,
    }


def _print_row(row: dict[str, Any], details: str, *, json: bool) -> None:
    if json:
        print_json(row)
        return
    for note in row.get("notes", []):
        print_stderr(f"note: {printable(note)}")
    verdict = row["verdict"]
    if row["path"] is None:
        policy = verdict["policy"]["name"]
        because = f"The policy {policy} blocks the picture: unsafe {verdict['unsafe']:.4f}."
        print_line(typer.style("blocked", fg="red", bold=True) + f"  {because}")
        return
    mark = typer.style("review  ", fg="yellow", bold=True) if verdict["decision"] != "allow" else ""
    print_line(f"{mark}{printable(row['path'])}  {details}")
