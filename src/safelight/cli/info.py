"""``safelight info``: the metadata of images about how they were made."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.console import Json, exit_flagged, legible, print_json, say
from safelight.errors import RecordMissingError, SafelightError

if TYPE_CHECKING:
    from safelight.images.metadata import Metadata
    from safelight.images.picture import DecodeLimits

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def info(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Files, or - for standard input.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Show prompt, parameters and reproduction record of pictures.

    Reads what Safelight, A1111, Forge and SD.Next write into PNG, JPEG and WebP. A picture that
    cannot be read or has no such metadata gets a line with the error, and the run goes on.
    Exit status 2: there was such a picture.
    """
    from safelight.images.picture import DecodeLimits
    from safelight.settings import Settings

    settings = Settings.load()
    limits = DecodeLimits.of(settings)
    stdin = sys.stdin.buffer.read(settings.max_bytes + 1) if "-" in images else b""
    failed = 0
    for name in images:
        found = _look(name, stdin if name == "-" else Path(name), limits)
        failed += found["error"] is not None
        if json:
            print_json(found)
        else:
            _print(found)
    exit_flagged(0, failed)


def _look(name: str, source: bytes | Path, limits: DecodeLimits) -> dict[str, Any]:
    """The object that --json prints: the same keys for every picture, error or not."""
    from safelight.images import header
    from safelight.images.metadata import read_metadata
    from safelight.images.source import read_bytes

    keys = ("format", "width", "height", "parameters", "infotext", "record")
    found: dict[str, Any] = {"path": name, **dict.fromkeys(keys), "notes": [], "error": None}
    try:
        data = read_bytes(source, limits.max_bytes)
        seen = header(data, limits=limits)
        found |= {"format": seen.format, "width": seen.width, "height": seen.height}
        _tell(found, read_metadata(data, limits=limits))
    except SafelightError as error:
        found["error"] = error.to_dict()
    return found


def _tell(found: dict[str, Any], metadata: Metadata) -> None:
    """Add the metadata; keys that are set stay where the rest is an error."""
    from safelight.generation import infotext
    from safelight.generation.record import ReproductionRecord

    found |= {"infotext": metadata.parameters, "notes": list(metadata.notes)}
    if metadata.parameters is not None:
        read = infotext.parse(metadata.parameters)
        found["parameters"] = read.to_dict() if read.parameters else None
    if metadata.record is not None:
        found["record"] = ReproductionRecord.parse(metadata.record).to_dict()
    elif metadata.parameters is None:
        raise RecordMissingError


def _print(found: dict[str, Any]) -> None:
    size = f"  {found['format']} {found['width']} x {found['height']}" if found["format"] else ""
    say(typer.style(_plain(found["path"]), bold=True) + size)
    if found["parameters"]:
        _print_pairs(found["parameters"])
    elif found["infotext"] is not None:
        _print_pairs({"Text": found["infotext"]})
    if found["record"]:
        _print_pairs(_summary(found["record"]))
    for note in found["notes"]:
        say(f"  note: {_plain(note)}")
    if found["error"]:
        say(typer.style(f"  {_plain(found['error']['message'])} [{found['error']['code']}]", fg="magenta"))


def _print_pairs(pairs: dict[str, str]) -> None:
    width = max(len(key) for key in pairs)
    for key, value in pairs.items():
        if value:
            lines = f"\n{'':{width + 4}}".join(_plain(value).split("\n"))
            say(f"  {typer.style(f'{_plain(key):<{width}}', dim=True)}  {lines}")


def _summary(record: dict[str, Any]) -> dict[str, str]:
    """The record in a few lines; --json has all of it."""
    versions, machine = record["versions"], record["machine"]
    checkpoint, verdict = record["checkpoint"], record["verdict"]
    inputs = [f"{name} {record[name][:12]}…" for name in ("init_image", "mask") if record[name]]
    return {
        "Record": f"layout {record['format']}, {record['mode']}",
        "Written as": record["prompt"] if record["prompt"] != record["expanded_prompt"] else "",
        "Checkpoint": f"{checkpoint['name']} ({checkpoint['family']}, sha256 {checkpoint['digest'][:12]}…)",
        "Made from": ", ".join(inputs),
        "Adapters": ", ".join(f"{each['name']} at {each['weight']:g}" for each in record["adapters"]),
        "Made with": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Made on": "{device}, {precision}, {backend}, {threads} thread(s)".format(**machine)
        + (", together with other pictures" if record["batched"] else ""),
        "Verdict": f"{verdict['decision']} by {verdict['policy']} {verdict['version']}" if verdict else "",
        "Notes": "; ".join(record["notes"]),
    }


def _plain(text: str) -> str:
    """Text of unknown origin without control characters for the terminal."""
    return _CONTROL.sub("\ufffd", legible(text))
