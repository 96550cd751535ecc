"""``safelight generate``: images from a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli import generation, remote
from safelight.cli.console import JsonOption, PolicyOption, print_json, print_line, print_stderr
from safelight.cli.request_options import given_fields

if TYPE_CHECKING:
    from safelight.settings import Settings


def generate(
    ctx: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to generate.", show_default=False)],
    set_field: generation.SetOption = None,
    policy: PolicyOption = None,
    out: generation.OutOption = generation.DEFAULT_FOLDER,
    kind: generation.FormatOption = None,
    file_quality: generation.FileQualityOption = 95,
    keep_partial: generation.KeepPartialOption = False,
    server: remote.ServerOption = None,
    explain_prompt: Annotated[
        bool, typer.Option("--explain-prompt", help="Show how the prompt is read; generate nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Generate pictures from a prompt.

    The policy applies before a picture is written; a blocked one is not written.
    Exit status 1: one was flagged.
    """
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    fields = given_fields(ctx)
    checkpoint = fields.pop("checkpoint", None)
    settings = Settings.load(policy=policy, checkpoint=checkpoint, server=server)
    request = GenerationRequest.parse(**generation.apply_set_options({"prompt": prompt, **fields}, set_field))
    if settings.server:
        remote.check_no_local_options(settings, policy=policy, explain_prompt=explain_prompt)
    if explain_prompt:
        _explain(settings, request, json)
        return
    target = generation.OutputTarget(
        out, kind, file_quality, request.count
    )  # raises before anything is loaded
    if settings.server:
        remote.generate_and_write(settings, request, checkpoint, target, keep_partial=keep_partial, json=json)
        return
    print_stderr(f"Loading {request.checkpoint or settings.checkpoint} …")
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    generation.generate_and_write(
        studio, request, out, kind, file_quality, keep_partial=keep_partial, json=json
    )


def _explain(settings: Settings, request: object, json: bool) -> None:
    """Print how the prompt is read: with wildcards filled in, parsed, and split into the checkpoint's tokens."""
    from safelight.generation.request import GenerationRequest
    from safelight.studio import Studio

    assert isinstance(request, GenerationRequest)
    found = Studio(settings).explain_prompt(request)
    if json:
        print_json({name: explanation.to_dict() for name, explanation in found.items()})
        return
    for name, explanation in found.items():
        print_line(typer.style(name, bold=True))
        print_line(str(explanation))
