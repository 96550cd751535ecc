"""``safelight reproduce``: make the same image again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.console import (
    JsonOption,
    PolicyOption,
    exit_with_status,
    print_json,
    print_line,
    print_stderr,
    printable,
)


def reproduce(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="A picture with its record.", show_default=False)
    ],
    init: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its initial picture, if it had one.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="FILE", help="Its mask, if it had one.")] = None,
    control: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A picture or mask of its controls, if it had some; can be repeated."
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A picture that the model looked at, if any; can be repeated."),
    ] = None,
    region: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="The mask of one of its regions, if it had some; can be repeated."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", "-m", metavar="NAME", help="The name of its checkpoint here."),
    ] = None,
    policy: PolicyOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the result.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a picture again from the record in its file.

    Reports whether the bytes are the same, and if not, what differs. Exit status 1: the difference
    is larger than batching with other pictures explains.
    """
    from safelight.atomic_write import atomic_write
    from safelight.settings import Settings
    from safelight.studio import Studio

    studio = Studio(Settings.load(policy=policy), on_message=print_stderr)
    result = studio.reproduce(
        image,
        init_image=init,
        mask=mask,
        control=(*(control or ()), *(region or ())),
        references=reference or (),
        checkpoint=checkpoint,
    )
    if out is not None and result.data is not None:
        with atomic_write(out) as temporary:
            temporary.write_bytes(result.data)
    if json:
        print_json(
            {
                "path": str(image),
                "identical": result.identical,
                "within_tolerance": result.within_tolerance,
                "differences": list(result.differences),
                "out": None if out is None or result.data is None else str(out),
            }
        )
    elif result.identical:
        print_line(f"{printable(str(image))}: the same, byte for byte.")
    else:
        near = "the same within tolerance, since it was batched with other pictures."
        print_line(f"{printable(str(image))}: {near if result.within_tolerance else 'not the same.'}")
        for difference in result.differences:
            print_line(f"  {difference}")
    exit_with_status(not (result.identical or result.within_tolerance))
