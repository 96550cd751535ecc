"""``safelight serve``: the server with its workers."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from safelight.cli.console import warn


def serve(
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address to listen on; only loopback works without keys."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port to listen on.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="What draws where a request does not say.")
    ] = None,
) -> None:
    """Serve pictures and verdicts over HTTP: our own API, OpenAI's and A1111's on one queue.

    Jobs survive: what is interrupted by a crash or a restart is done afterwards.
    """
    from safelight import logs
    from safelight.jobs.supervisor import Child, Supervisor
    from safelight.server.guard import check_address
    from safelight.settings import Settings

    logs.configure()
    settings = Settings.load(host=host, port=port, checkpoint=checkpoint)
    check_address(settings)
    chosen = ["--checkpoint", settings.checkpoint]
    devices = settings.worker_devices or (settings.device,)
    children = [
        Child("api", ["api", "--host", settings.host, "--port", str(settings.port), *chosen]),
        *(
            Child(f"worker {number}", ["worker", "--device", device, "--number", str(number), *chosen])
            for number, device in enumerate(devices)
        ),
    ]
    supervisor = Supervisor(children)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    warn(f"Safelight listens on http://{settings.host}:{settings.port}")
    raise typer.Exit(supervisor.run())
