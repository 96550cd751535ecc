"""``safelight models quantize``: write a checkpoint with smaller weights, and compare it with the original."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_line, print_stderr, printable
from safelight.errors import UsageError

if TYPE_CHECKING:
    from safelight.studio.quantization import QuantizationReport


class Target(StrEnum):
    """The formats."""

    INT8 = "int8"
    INT4 = "int4"
    NF4 = "nf4"
    FP8 = "fp8"


def quantize(
    name: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's name.", show_default=False)
    ],
    to: Annotated[
        Target,
        typer.Option(
            "--to",
            help="int8 in groups of 64, int4 in groups of 32, nf4 in blocks of 64, or fp8 with a scale for each row.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="NAME",
            help="The new checkpoint's name; CHECKPOINT-int8 and so on if not given.",
        ),
    ] = None,
    text_encoders: Annotated[
        bool, typer.Option("--text-encoders", help="Quantize the text encoders too.")
    ] = False,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            metavar="N",
            min=0,
            max=100,
            help="Pictures to compare with the original's; 0 for none, by default 2, for the starter its judge's 32.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint with its denoiser's weights quantized, into the data directory, and compare the two.

    Layers whose output changes too much, measured in one generation, keep more bits. All of the original is in
    memory while its layers are measured.
    """
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.hub.checkpoint_download import hub_lookup
    from safelight.settings import Settings
    from safelight.studio import Studio
    from safelight.studio.quantization import compare, target_path
    from safelight.studio.quantization import quantize as quantize_checkpoint

    settings = Settings.load()
    if settings.server:
        raise UsageError(
            "Checkpoints are quantized on the machine that has them.", hint="Leave out --server."
        )
    checkpoint = find_checkpoint(
        name, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )
    new_name = out or f"{checkpoint.name.rpartition('/')[2]}-{to.value}"
    path = target_path(checkpoint, new_name, settings.home)
    written = quantize_checkpoint(
        checkpoint,
        path,
        to.value,
        text_encoders=text_encoders,
        on_message=lambda message: print_stderr(printable(message)),
        on_progress=_Progress().report,
    )
    print_stderr("Comparing …" if pictures != 0 else "")
    studio = Studio(settings)
    _print_report(compare(studio.engine, name, new_name, written, to.value, pictures), json)


class _Progress:
    """A line on stderr for each tenth of the bytes."""

    def __init__(self) -> None:
        self._tenths = 0

    def report(self, done: int, total: int) -> None:
        """Some bytes were written."""
        tenths = done * 10 // max(total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            print_stderr(f"{tenths * 10} % of {total / 1e6:.0f} MB")


def _print_report(report: QuantizationReport, json: bool) -> None:
    if json:
        print_json(report.to_dict())
        return
    written = report.written
    print_line(f"Wrote {printable(report.name)}: {printable(str(written.path))}")
    saved = f"{written.size / 1e6:.1f} MB instead of {written.original_size / 1e6:.1f} MB"
    print_line(f"  size              {saved}")
    counts = ", ".join(f"{count} {kind}" for kind, count in written.layers.most_common())
    print_line(f"  layers            {counts}")
    if written.left_out:
        worst = sorted(written.left_out.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{printable(layer)} ({error:.1%})" for layer, error in worst)
        print_line(f"  most sensitive    {named}")
    if report.seconds_per_step:
        first, second = report.seconds_per_step
        print_line(f"  seconds per step  {second:.3f} instead of {first:.3f}")
        mean = sum(report.psnr) / len(report.psnr)
        print_line(
            f"  PSNR              {mean:.1f} dB (the least of {len(report.psnr)}: {min(report.psnr):.1f} dB)"
        )
    if report.scores:
        first_score, second_score = report.scores
        print_line(
            f"  judge             {second_score.right_thing:.1%} right instead of {first_score.right_thing:.1%}, "
            f"in the right style {second_score.right_thing_and_style:.1%} instead of "
            f"{first_score.right_thing_and_style:.1%}"
        )
