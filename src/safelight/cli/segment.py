"""``safelight segment``: the mask of what lies at a point of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli import remote
from safelight.cli.console import (
    JsonOption,
    PolicyOption,
    exit_with_status,
    print_json,
    print_line,
    print_stderr,
    printable,
)
from safelight.errors import UsageError


def segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture.", show_default=False)],
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y", help="A point on the object, in pixels from the top left; can be repeated."
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point that is not on it; can be repeated."),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="L,T,R,B", help="A box around it: left, top, right, bottom in pixels."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A model for masks that you have pulled.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to write it; IMAGE mask.png if not given."),
    ] = None,
    policy: PolicyOption = None,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Make the mask of an object of a picture, white on black, for --mask and --region."""
    from safelight.settings import Settings

    given = [(text, True) for text in point or ()] + [(text, False) for text in beside or ()]
    points = [(*_point(text), inside) for text, inside in given]
    around = None if box is None else _box(box)
    if not points and around is None:
        raise UsageError("Give --point X,Y or --box L,T,R,B.")
    settings = Settings.load(policy=policy, server=server)
    target = out or image.with_name(f"{image.stem} mask.png")
    if settings.server:
        remote.check_no_local_options(settings, policy=policy)
        remote.segment_and_write(settings, image, points, around, model, target, json=json)
        return
    from safelight.generation.control.preprocessors.object_mask import OBJECT_MASK, place_parameters
    from safelight.images import decode
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    size = decode(image, limits=studio.limits).image.size
    made = studio.preprocess(image, OBJECT_MASK, place_parameters(points, around, size, model))
    if made.image is not None and made.image.size != size:
        from dataclasses import replace

        made = replace(made, image=made.image.resize(size))
    path = None if made.image is None else made.save(target)
    if json:
        print_json(made.to_dict(path))
    elif path is None:
        print_line(typer.style("blocked", fg="red", bold=True) + f"  {made.block_reason}")
    else:
        print_line(f"{printable(str(path))}  {size[0]} x {size[1]}")
    exit_with_status(made.verdict.flagged)


def _point(text: str) -> tuple[float, float]:
    x, y = _numbers(text, 2)
    return x, y


def _box(text: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = _numbers(text, 4)
    return left, top, right, bottom


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if len(found) != count:
        raise UsageError(f"{text}: give {count} numbers with commas between them.")
    return found
