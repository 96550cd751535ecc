"""``safelight worker``: a process that runs jobs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer


def worker(
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="The device: auto, cpu, cuda:0, mps …")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Its name, the same at each start; host, device and number when not given."
        ),
    ] = None,
    number: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number among several workers on one device.")
    ] = 0,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="Default checkpoint.")] = None,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run jobs from the queue until stopped. ``safelight serve`` starts its own workers; this is for further hosts.

    It shares database and gallery with the server: the settings ``database`` and ``home`` must be the server's.
    """
    from safelight import logs
    from safelight.file_permissions import set_private_umask
    from safelight.jobs.supervisor import SHUTDOWN_TIMEOUT, exit_on_temporary_error, exit_with_parent
    from safelight.jobs.worker.process import run_worker, worker_name
    from safelight.settings import Settings

    logs.configure_logging()
    settings = Settings.load(device=device, checkpoint=checkpoint)
    set_private_umask()
    if supervised:
        exit_with_parent()
    # the worker of a killed supervisor may still be exiting
    name_timeout = SHUTDOWN_TIMEOUT + 5 if supervised else 0.0
    with exit_on_temporary_error() if supervised else nullcontext():
        run_worker(settings, name or worker_name(settings.device, number), name_timeout=name_timeout)
