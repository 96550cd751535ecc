"""``safelight serve``: the server with its workers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import print_stderr

if TYPE_CHECKING:
    from safelight.jobs.supervisor import Supervisor
    from safelight.settings import Settings


def serve(
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address to listen on; only loopback works without keys."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port to listen on.", show_default=False)
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="Default checkpoint.")] = None,
) -> None:
    """Serve pictures and verdicts over HTTP: our own API, OpenAI's and A1111's on one queue.

    Jobs are durable: jobs that a crash or a restart interrupts are run again.
    """
    from safelight import logs
    from safelight.server.core.data_directory import check_database, exclusive_home
    from safelight.server.security.bind_policy import check_bind_address
    from safelight.settings import Settings

    logs.configure_logging()
    settings = Settings.load(host=host, port=port, checkpoint=checkpoint)
    with exclusive_home(settings):
        if check_database(settings):
            check_bind_address(settings)
        raise typer.Exit(_build_supervisor(settings).run())


def _build_supervisor(settings: Settings) -> Supervisor:
    """The supervisor of all processes; it handles signals from now on."""
    from safelight.jobs.supervisor import ChildProcess, Supervisor
    from safelight.settings import Source

    flagged = (
        settings.source("checkpoint") is Source.FLAG
    )  # otherwise it may be changed while the server runs
    chosen = ["--checkpoint", settings.checkpoint] if flagged else []
    devices = settings.worker_devices or (settings.device,)
    children = [
        ChildProcess(
            "api",
            ["api", "--host", settings.host, "--port", str(settings.port), *chosen],
            address=(settings.host, settings.port),
        ),
        *(
            ChildProcess(f"worker {number}", ["worker", "--device", device, "--number", str(number), *chosen])
            for number, device in enumerate(devices)
        ),
    ]
    supervisor = Supervisor(children)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    print_stderr(f"Safelight listens on http://{settings.host}:{settings.port}")
    return supervisor
