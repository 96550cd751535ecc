"""``safelight export``: write a classifier for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.console import ClassifierOption, JsonOption, print_json, print_stderr


def export(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.", show_default=False)
    ],
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="onnx, openvino or torchscript.")
    ] = "onnx",
    classifier: ClassifierOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a classifier as ONNX, OpenVINO or TorchScript, and verify that its outputs are the same."""
    from safelight.settings import Settings

    settings = Settings.load(classifier=classifier)
    print_stderr(f"Exporting {settings.classifier} as {form} …")
    from safelight.moderation.classifiers.export import export_classifier as write
    from safelight.moderation.classifiers.loading import load_definition

    result = write(load_definition(settings, on_message=print_stderr), form, out, overwrite=overwrite)
    if json:
        print_json(
            {
                "folder": str(result.folder),
                "files": list(result.files),
                "probability_error": result.probability_error,
                "embedding_error": result.embedding_error,
            }
        )
        return
    typer.echo(f"Wrote {', '.join(result.files)} into {result.folder}.")
    typer.echo(
        f"Largest difference: {result.probability_error:.1e} in a probability, "
        f"{result.embedding_error:.1e} of the largest number in an embedding."
    )
