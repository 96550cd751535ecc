"""``safelight preprocess``: the picture that steers a generation; ``safelight preprocessors`` lists what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from safelight.cli.generation import apply_set_options


def preprocess(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The picture to preprocess.", show_default=False)
    ],
    preprocessor: Annotated[
        str, typer.Option("--with", metavar="NAME", help="canny, line_art …: see safelight preprocessors.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; can be repeated.", show_default=False),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="The result's shorter side, 64 to 2048; as large as the picture if not given.",
            show_default=False,
        ),
    ] = None,
    policy: PolicyOption = None,
    out: generation.OutOption = generation.DEFAULT_FOLDER,
    kind: generation.FormatOption = None,
    file_quality: generation.FileQualityOption = 95,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Make the edges, lines, pose or colours of a picture, with which control models steer a generation."""
    from safelight.settings import Settings

    settings = Settings.load(policy=policy, server=server)
    target = generation.OutputTarget(out, kind, file_quality, 1)
    values = apply_set_options({}, parameters)
    if settings.server:
        remote.check_no_local_options(settings, policy=policy)
        remote.preprocess_and_write(settings, image, preprocessor, values, resolution, target, json=json)
        return
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    made = studio.preprocess(image, preprocessor, values, resolution=resolution)
    path = (
        None
        if made.image is None
        else made.save(target.free_path(f"{image.stem} {made.preprocessor}", None), quality=file_quality)
    )
    if json:
        print_json(made.to_dict(path))
    elif made.image is None:
        print_line(typer.style("blocked", fg="red", bold=True) + f"  {made.block_reason}")
    else:
        print_line(f"{printable(str(path))}  {made.image.width} x {made.image.height}")
    exit_with_status(made.verdict.flagged)


def preprocessors(json: JsonOption = False) -> None:
    """List the preprocessors with their parameters."""
    from safelight.generation.control.preprocessors import PREPROCESSORS
    from safelight.settings import Settings

    settings = Settings.load()
    rows = [each.to_dict(settings) for each in PREPROCESSORS.values()]
    if json:
        print_json({"preprocessors": rows})
        return
    for row in rows:
        print_line(f"{row['name']:<18} {row['description']}")
        for parameter in row["parameters"]:
            print_line(f"{'':<18}   {_parameter_line(parameter)}")
        if not row["available"]:
            print_line(f"{'':<18}   its weights are not installed")


def _parameter_line(parameter: dict[str, Any]) -> str:
    limits = f" ({parameter['minimum']} to {parameter['maximum']})" if "minimum" in parameter else ""
    return f"{parameter['name']}={parameter['default']}{limits}: {parameter['description']}"
