"""``safelight api``: the process of ``safelight serve`` that answers HTTP requests. Not for direct use."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer


def api(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Answer HTTP requests; ``safelight serve`` starts this process and its workers."""
    from safelight import logs
    from safelight.file_permissions import set_private_umask
    from safelight.jobs.supervisor import exit_on_temporary_error, exit_with_parent
    from safelight.server.main import serve
    from safelight.settings import Settings

    logs.configure_logging()
    settings = Settings.load(host=host, port=port, checkpoint=checkpoint)
    set_private_umask()
    if supervised:
        exit_with_parent()
    with exit_on_temporary_error() if supervised else nullcontext():
        serve(settings)
