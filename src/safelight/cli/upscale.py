"""``safelight upscale``: larger images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli import generation, remote
from safelight.cli.console import (
    JsonOption,
    PolicyOption,
    exit_with_status,
    print_json,
    print_line,
    print_stderr,
    printable,
)


def upscale(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The picture to enlarge.", show_default=False)
    ],
    by: Annotated[float, typer.Option(metavar="FACTOR", help="Factor on width and height, 1 to 8.")] = 2.0,
    upscaler: Annotated[
        str, typer.Option(metavar="NAME", help="lanczos, bicubic …, or a network's name or file.")
    ] = "lanczos",
    policy: PolicyOption = None,
    out: generation.OutOption = generation.DEFAULT_FOLDER,
    kind: generation.FormatOption = None,
    file_quality: generation.FileQualityOption = 95,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Enlarge a picture, by interpolation or with an upscaler network.

    The picture's metadata is kept, with a note of the upscaling.
    """
    from safelight.settings import Settings

    settings = Settings.load(policy=policy, server=server)
    target = generation.OutputTarget(out, kind, file_quality, 1)
    if settings.server:
        remote.check_no_local_options(settings, policy=policy)
        remote.upscale_and_write(settings, image, by, upscaler, target, json=json)
        return
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    enlarged = studio.upscale(image, by=by, upscaler=upscaler)
    path = (
        None
        if enlarged.image is None
        else enlarged.save(target.free_path(image.stem, None), quality=file_quality)
    )
    if json:
        print_json(enlarged.to_dict(path))
    elif path is None:
        print_line(typer.style("blocked", fg="red", bold=True) + f"  {enlarged.block_reason}")
    else:
        assert enlarged.image is not None
        print_line(f"{printable(str(path))}  {enlarged.image.width} x {enlarged.image.height}")
    exit_with_status(enlarged.verdict.flagged)
