"""``safelight models compile``: compile a checkpoint's networks for a size, before pictures are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_line, print_stderr, printable
from safelight.cli.control_option import parse_control
from safelight.cli.generation import parse_size
from safelight.errors import UsageError

if TYPE_CHECKING:
    from safelight.studio.compilation import CompiledNetwork


def compile_checkpoint(
    name: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's name.", show_default=False)
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Width and height in pixels: 512x512; the checkpoint's if not given."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The backend to compile for; that of generation_backend if not given."
        ),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compile for a control too: its kind, its model, or its fields as JSON. Can be repeated.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compile a checkpoint's networks for a size, so that not even the first picture is computed eagerly.

    Ctrl-C stops it; what is compiled by then stays in the cache folder. Exit status 1: a network could not be compiled.
    """
    from PIL import Image

    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings
    from safelight.studio import Studio
    from safelight.studio.compilation import compile_ahead

    settings = Settings.load(generation_backend=backend)
    if settings.server:
        raise UsageError(
            "Networks are compiled on the machine that computes them.", hint="Leave out --server."
        )
    blank = Image.new("RGB", (64, 64))
    controls = [
        parse_control(each if each.startswith("{") else f"{each}=") | {"image": blank}
        for each in control or []
    ]
    request = GenerationRequest.parse(
        prompt="a picture", checkpoint=name, control=controls, **parse_size(size)
    )

    def report(done: int, total: int, form: str) -> None:
        if form:
            print_stderr(f"{done + 1} of {total}: {printable(form)} …")

    found = compile_ahead(Studio(settings).engine, request, report)
    if json:
        print_json({"checkpoint": name, "forms": [each.to_dict() for each in found]})
    else:
        _print_report(found)
    if any(each.problem for each in found):
        raise typer.Exit(1)


def _print_report(found: list[CompiledNetwork]) -> None:
    for each in found:
        what = f"{each.component} {each.place}"
        if each.problem:
            print_line(f"{what}: not compiled: {printable(each.problem)}")
        else:
            print_line(
                f"{what}: {each.plan}, {each.size / 1e6:.0f} MB, {each.speedup:.2f} times as fast as eager"
            )
