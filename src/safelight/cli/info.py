"""``safelight info``: the metadata of images about how they were made."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.console import JsonOption, exit_with_status, print_json, print_line, printable
from safelight.errors import RecordMissingError, SafelightError

if TYPE_CHECKING:
    from safelight.images.metadata.file_metadata import Metadata
    from safelight.images.types import DecodeLimits

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def info(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Files, or - for standard input.", show_default=False),
    ],
    json: JsonOption = False,
) -> None:
    """Show prompt, parameters and reproduction record of pictures.

    Reads what Safelight, A1111, Forge and SD.Next write into PNG, JPEG and WebP. A picture that
    cannot be read or has no such metadata gets a line with the error, and the run goes on.
    Exit status 2: there was such a picture.
    """
    from safelight.images.types import DecodeLimits
    from safelight.settings import Settings

    settings = Settings.load()
    limits = DecodeLimits.of(settings)
    stdin = sys.stdin.buffer.read(settings.max_bytes + 1) if "-" in images else b""
    failed = 0
    for name in images:
        found = _inspect(name, stdin if name == "-" else Path(name), limits)
        failed += found["error"] is not None
        if json:
            print_json(found)
        else:
            _print(found)
    exit_with_status(0, failed)


def _inspect(name: str, source: bytes | Path, limits: DecodeLimits) -> dict[str, Any]:
    """The object that --json prints: the same keys for every picture, error or not."""
    from safelight.images import read_header
    from safelight.images.metadata.file_metadata import read_metadata
    from safelight.images.reader import read_bytes

    keys = ("format", "width", "height", "parameters", "infotext", "record")
    found: dict[str, Any] = {"path": name, **dict.fromkeys(keys), "notes": [], "error": None}
    try:
        data = read_bytes(source, limits.max_bytes)
        seen = read_header(data, limits=limits)
        found |= {"format": seen.format, "width": seen.width, "height": seen.height}
        _add_metadata(found, read_metadata(data, limits=limits))
    except SafelightError as error:
        found["error"] = error.to_dict()
    return found


def _add_metadata(found: dict[str, Any], metadata: Metadata) -> None:
    """Add the metadata; keys that are set stay where the rest is an error."""
    from safelight.generation import infotext
    from safelight.generation.record import ReproductionRecord

    found |= {"infotext": metadata.infotext, "notes": list(metadata.notes)}
    if metadata.infotext is not None:
        read = infotext.parse_infotext(metadata.infotext)
        found["parameters"] = read.to_dict() if read.parameters else None
    if metadata.record is not None:
        found["record"] = ReproductionRecord.parse(metadata.record).to_dict()
    elif metadata.infotext is None:
        raise RecordMissingError


def _print(found: dict[str, Any]) -> None:
    size = f"  {found['format']} {found['width']} x {found['height']}" if found["format"] else ""
    print_line(typer.style(_without_control_characters(found["path"]), bold=True) + size)
    if found["parameters"]:
        _print_pairs(found["parameters"])
    elif found["infotext"] is not None:
        _print_pairs({"Text": found["infotext"]})
    if found["record"]:
        _print_pairs(_summary(found["record"]))
    for note in found["notes"]:
        print_line(f"  note: {_without_control_characters(note)}")
    if found["error"]:
        print_line(
            typer.style(
                f"  {_without_control_characters(found['error']['message'])} [{found['error']['code']}]",
                fg="magenta",
            )
        )


def _print_pairs(pairs: dict[str, str]) -> None:
    width = max(len(key) for key in pairs)
    for key, value in pairs.items():
        if value:
            lines = f"\n{'':{width + 4}}".join(_without_control_characters(value).split("\n"))
            print_line(f"  {typer.style(f'{_without_control_characters(key):<{width}}', dim=True)}  {lines}")


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
        "Adapters": ", ".join(f"{each['name']} at {each['strength']}" for each in record["adapters"]),
        "References": ", ".join(each["image"][:12] for each in record.get("references", ())),
        "Control": ", ".join(f"{each['name']} at {each['weight']:g}" for each in record.get("control", ())),
        "Made with": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Made on": "{device}, {precision}, {backend}, {threads} thread(s)".format(**machine)
        + "".join(f", {name} in {other}" for name, other in machine.get("other_precisions", {}).items())
        + (", together with other pictures" if record["batched"] else ""),
        "Verdict": f"{verdict['decision']} by {verdict['policy']} {verdict['version']}" if verdict else "",
        "Notes": "; ".join(record["notes"]),
    }


def _without_control_characters(text: str) -> str:
    """Text of unknown origin without control characters for the terminal."""
    return _CONTROL.sub("\ufffd", printable(text))
