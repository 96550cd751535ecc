"""``safelight keys``: API keys of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from safelight.cli.console import JsonOption, print_json, print_stderr

if TYPE_CHECKING:
    from safelight.audit_log import AuditLog
    from safelight.server.security.keys import Key, KeyStore

app = typer.Typer(help="Make, list and revoke the API keys of the server.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The key's owner: a-z, 0-9, '.', '-', '_'.")
]


@app.command("add")
def add(
    name: NameArgument,
    role: Annotated[
        Literal["user", "admin"],
        typer.Option(help="user: submits jobs and sees only their own; admin: may do everything."),
    ] = "user",
    pictures_per_day: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Maximum pictures per day (UTC).")
    ] = None,
    megapixels_per_day: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Maximum megapixels per day, over all pictures.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it: it is shown only once and not stored. From the first key on, the server requires one."""
    from safelight.server.security.principal import Role

    with _open_keys() as (keys, audit):
        key = keys.add(
            name, Role(role), pictures_per_day=pictures_per_day, megapixels_per_day=megapixels_per_day
        )
        audit.write("key.made", key=name, role=role)
    if as_json:
        print_json({"name": name, "role": role, "key": key})
    else:
        print_stderr(f"The key of {name}, which is not shown again:")
        typer.echo(key)


@app.command("list")
def show(as_json: JsonOption = False) -> None:
    """List all keys, also revoked ones; the keys themselves are not stored."""
    with _open_keys() as (keys, _):
        found = keys.all()
    if as_json:
        print_json({"keys": [key.to_dict() for key in found]})
        return
    for key in found:
        typer.echo(_key_line(key))
    if not found:
        print_stderr(
            "There are no keys: the server accepts everybody on this machine, and listens on loopback only."
        )


@app.command("revoke")
def revoke(name: NameArgument, as_json: JsonOption = False) -> None:
    """Make a key invalid, effective immediately."""
    with _open_keys() as (keys, audit):
        key = keys.revoke(name)
        audit.write("key.revoked", key=name)
    if as_json:
        print_json(key.to_dict())
    else:
        print_stderr(f"The key of {name} is revoked.")


@contextmanager
def _open_keys() -> Iterator[tuple[KeyStore, AuditLog]]:
    from safelight.audit_log import open_audit_log
    from safelight.database import migrate, open_database
    from safelight.server.security.keys import SCHEMA, KeyStore
    from safelight.settings import Settings

    settings = Settings.load()
    engine = open_database(settings)
    try:
        migrate(engine, [SCHEMA])
        yield KeyStore(engine), open_audit_log(settings.home, settings.audit_bytes)
    finally:
        engine.dispose()


def _key_line(key: Key) -> str:
    quota = [f"{key.pictures_per_day} pictures a day"] if key.pictures_per_day is not None else []
    quota += [f"{key.megapixels_per_day:g} megapixels a day"] if key.megapixels_per_day is not None else []
    state = (
        f"revoked {_format_time(key.revoked)}"
        if key.revoked
        else f"used {_format_time(key.used)}"
        if key.used
        else "never used"
    )
    return "  ".join([f"{key.name:20}", f"{key.role:5}", f"made {_format_time(key.created)}", state, *quota])


def _format_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
