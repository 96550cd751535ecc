"""``safelight jobs``: the jobs of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli import remote
from safelight.cli.console import JsonOption, print_json, print_line, printable
from safelight.cli.generation import StopRequest
from safelight.errors import UsageError

if TYPE_CHECKING:
    from safelight.client import Client
    from safelight.client.models import Job

app = typer.Typer(
    help="List, show, cancel and watch the jobs of a server; this machine's when none is given."
)
JobIdArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.", show_default=False)]
STATES = ("queued", "running", "succeeded", "failed", "cancelled")


@app.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Only {', '.join(STATES)}; can be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 20,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    if unknown := set(state or ()).difference(STATES):
        raise UsageError(f"--state {unknown.pop()}: give one of {', '.join(STATES)}.")
    with _connect(server) as client:
        found = _newest_jobs(client, state or [], limit)
    if json:
        print_json({"jobs": [job.model_dump(mode="json") for job in found]})
        return
    for job in found:
        print_line(_job_line(job))


@app.command()
def show(job_id: JobIdArgument, server: remote.ServerOption = None, json: JsonOption = False) -> None:
    """Show a job: its state, its request and its result."""
    with _connect(server) as client:
        job = client.job(job_id)
    if json:
        print_json(job.model_dump(mode="json"))
    else:
        _print_job(job)


@app.command()
def cancel(job_id: JobIdArgument, server: remote.ServerOption = None, json: JsonOption = False) -> None:
    """Cancel a job: a queued one at once, a running one at its next step; finished pictures are kept."""
    with _connect(server) as client:
        job = client.cancel(job_id)
    if json:
        print_json(job.model_dump(mode="json"))
    else:
        print_line(_job_line(job))


@app.command()
def watch(job_id: JobIdArgument, server: remote.ServerOption = None, json: JsonOption = False) -> None:
    """Follow a job until it has ended; Ctrl-C stops watching, and the job goes on.

    With --json every event is a line. Exit status: that of the job's failure, if it fails.
    """
    with _connect(server) as client:
        if json:
            for event in client.events(job_id):
                print_json(event.model_dump(mode="json"))
            job = client.job(job_id)
        else:
            job = remote.follow(client, client.job(job_id), StopRequest(), keep_partial=False)
            _print_job(job)
        if job.error is not None:
            client.outcome(job)


def _connect(server: str | None) -> Client:
    from safelight.settings import Settings

    settings = Settings.load(server=server)
    if not settings.server:
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  compared, not bound
        address = f"[{host}]" if ":" in host else host
        settings = settings.model_copy(update={"server": f"http://{address}:{settings.port}"})
    return remote.connect(settings)


def _newest_jobs(client: Client, states: list[str], limit: int) -> list[Job]:
    found: list[Job] = []
    before = None
    while len(found) < limit:
        page = client.jobs(states=states, before=before, limit=min(200, limit - len(found)))
        found += page.jobs
        if (before := page.next) is None:
            break
    return found


def _job_line(job: Job) -> str:
    at = f"{job.created.astimezone():%Y-%m-%d %H:%M:%S}"
    where = f", place {job.position}" if job.position is not None else ""
    share = f", {job.progress.fraction:.0%}" if job.progress is not None and job.state == "running" else ""
    what = str(job.request.get("prompt", ""))[:50]
    return printable(f"{job.id}  {job.state + where + share:<18} {job.kind:<9} {at}  {what}".rstrip())


def _print_job(job: Job) -> None:
    print_line(_job_line(job))
    if job.eta is not None:
        print_line(f"  about {job.eta:.0f} s to go")
    if job.error is not None:
        print_line(f"  {job.error.message} [{job.error.code}]")
    for picture in (job.result or {}).get("pictures", []):
        print_line(f"  {picture['id']}  {picture['width']} x {picture['height']}, {picture['decision']}")
    for verdict in (job.result or {}).get("verdicts", []):
        unsafe = "" if verdict["unsafe"] is None else f"  {verdict['unsafe']:.4f}"
        print_line(f"  {verdict['index']:>6}  {verdict['decision']}{unsafe}")
