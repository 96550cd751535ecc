"""Generating, enlarging and judging by a Safelight server, with the same lines and exit statuses as on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.console import exit_flagged, legible, print_json, say, warn
from safelight.cli.drawing import Steps, Stop, Target
from safelight.errors import JobOverError, NoResultError, SafelightError, UsageError

if TYPE_CHECKING:
    import queue
    from pathlib import Path

    from safelight.client import Client
    from safelight.client.models import DrawnPicture, EntryRecord, Event, Job
    from safelight.generation.request import GenerationRequest
    from safelight.images import ImageSource
    from safelight.settings import Settings

Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Have a Safelight server do it.", show_default=False),
]
AT_ONCE, AHEAD = 4, 32
"""How many pictures are judged at the same time, and how many are read ahead."""


def connect(settings: Settings) -> Client:
    """The server that the settings name."""
    from safelight.client import Client

    return Client(settings.server, settings.key.get_secret_value() or None)


def refuse(settings: Settings, **options: object) -> None:
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


def draw_and_write(
    settings: Settings,
    request: GenerationRequest,
    checkpoint: str | None,
    target: Target,
    *,
    keep_partial: bool,
    json: bool,
) -> None:
    """Have pictures generated, write them, and exit with the contract's status; after Ctrl-C that is 130."""
    from safelight.client import GenerateJob
    from safelight.client.client import encoded
    from safelight.images.fields import replace_images

    given = request.model_dump(exclude_unset=True)
    fields = replace_images(type(request), given, lambda found: encoded(found.value))
    if checkpoint is not None:
        fields["checkpoint"] = checkpoint
    stop = Stop()
    with connect(settings) as client, stop.listening():
        ended = follow(client, client.submit(GenerateJob(**fields)), stop, keep_partial=keep_partial)
        flagged = 0
        for picture in _pictures(client, ended, stopped=stop.asked):
            entry = client.entry(picture.id)
            words = str((entry.record or {}).get("expanded_prompt", entry.prompt))
            path = _fetched(client, ended, picture, target, words)
            flagged += picture.decision != "allow"
            row = _generated_row(ended, picture, entry, path)
            _print(row, f"seed {picture.seed}, {row['seconds']:.1f} s", json=json)
    if stop.asked:
        raise typer.Exit(130)
    exit_flagged(flagged)


def upscale_and_write(
    settings: Settings, image: Path, by: float, upscaler: str, target: Target, *, json: bool
) -> None:
    """Have a picture enlarged, write it, and exit with the contract's status."""
    from safelight.client import UpscaleJob
    from safelight.client.client import encoded

    stop = Stop()
    with connect(settings) as client, stop.listening():
        job = client.submit(UpscaleJob(image=encoded(image), by=by, upscaler=upscaler))
        ended = follow(client, job, stop, keep_partial=False)
        flagged = 0
        for picture in _pictures(client, ended, stopped=stop.asked):
            path = _fetched(client, ended, picture, target, image.stem)
            flagged += picture.decision != "allow"
            row = {
                "path": None if path is None else str(path),
                "width": picture.width or None,
                "height": picture.height or None,
                "upscaler": upscaler,
                "factor": by,
                "seconds": _seconds(ended, picture),
                "verdict": _verdict(picture, client.entry(picture.id)),
            }
            _print(row, f"{picture.width} x {picture.height}", json=json)
    if stop.asked:
        raise typer.Exit(130)
    exit_flagged(flagged)


def follow(client: Client, job: Job, stop: Stop, *, keep_partial: bool) -> Job:
    """Show a job's progress until it has ended; when asked to stop, cancel it, or finish it early."""
    import queue

    arrived: queue.Queue[Event | SafelightError | None] = queue.Queue()
    threading.Thread(target=_pump, args=(client, job.id, arrived), daemon=True, name="events").start()
    steps, told = Steps(), False
    if job.position is not None and job.position > 1:
        warn(f"Place {job.position} in the queue of {client.url}")
    try:
        while True:
            if stop.asked and not told:
                told = True
                with suppress(JobOverError):
                    client.finish(job.id) if keep_partial else client.cancel(job.id)
            with suppress(queue.Empty):
                event = arrived.get(timeout=0.1)  # no longer, so that Ctrl-C is heard
                if event is None:
                    return client.job(job.id)
                if isinstance(event, SafelightError):
                    raise event
                _show(steps, event)
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

    from safelight.images.source import read_bytes
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
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="judge") as pool:
        while some := list(islice(stream, AHEAD)):
            yield from pool.map(judged, some)


def _pump(client: Client, job_id: str, arrived: queue.Queue[Event | SafelightError | None]) -> None:
    try:
        for event in client.events(job_id):
            arrived.put(event)
    except SafelightError as error:
        arrived.put(error)
    else:
        arrived.put(None)


def _show(steps: Steps, event: Event) -> None:
    if event.kind == "progress":
        data = event.data
        steps.show(
            f"picture {data['picture'] + 1} of {data['pictures']}, {data['stage']}: {data['step']}/{data['steps']}"
        )


def _pictures(client: Client, ended: Job, *, stopped: bool) -> list[DrawnPicture]:
    """The pictures of an ended job; none, if it was stopped from here before the first one."""
    try:
        return list(client.outcome(ended).pictures)
    except NoResultError:
        if stopped:
            return []
        raise


def _fetched(client: Client, job: Job, picture: DrawnPicture, target: Target, words: str) -> Path | None:
    """Write a picture; None where the policy blocks it."""
    from safelight.files import written_whole

    if picture.url is None:
        return None
    data = client.picture(job.id, picture.index, target.file_kind, quality=target.quality)
    path = target.path(words, picture.seed)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def _seconds(job: Job, picture: DrawnPicture) -> float:
    """What generating a picture took; its share of the job's time where the server does not say."""
    if picture.seconds is not None:
        return picture.seconds
    if job.started is None or job.ended is None:
        return 0.0
    pictures = (job.result or {}).get("pictures") or [None]
    return round((job.ended - job.started).total_seconds() / len(pictures), 3)


def _generated_row(job: Job, picture: DrawnPicture, entry: EntryRecord, path: Path | None) -> dict[str, Any]:
    """The line of a picture, as ``Picture.to_dict`` makes it on this machine."""
    return {
        "path": None if path is None else str(path),
        "seed": picture.seed,
        "width": picture.width,
        "height": picture.height,
        "steps": picture.steps,
        "sampler": picture.sampler,
        "checkpoint": picture.checkpoint,
        "seconds": _seconds(job, picture),
        "stopped_at": picture.stopped_at,
        "notes": list(picture.notes),
        "verdict": _verdict(picture, entry),
    }


def _verdict(picture: DrawnPicture, entry: EntryRecord) -> dict[str, Any]:
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


def _print(row: dict[str, Any], what: str, *, json: bool) -> None:
    if json:
        print_json(row)
        return
    for note in row.get("notes", []):
        warn(f"note: {legible(note)}")
    verdict = row["verdict"]
    if row["path"] is None:
        policy = verdict["policy"]["name"]
        because = f"The policy {policy} blocks the picture: unsafe {verdict['unsafe']:.4f}."
        say(typer.style("blocked", fg="red", bold=True) + f"  {because}")
        return
    mark = typer.style("review  ", fg="yellow", bold=True) if verdict["decision"] != "allow" else ""
    say(f"{mark}{legible(row['path'])}  {what}")
