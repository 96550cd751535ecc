"""``safelight edit``: images from an image and a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli import generation, remote
from safelight.cli.console import JsonOption, PolicyOption, print_stderr
from safelight.cli.request_options import given_fields


def edit(
    ctx: typer.Context,
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The picture to start from.", show_default=False)
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to generate.", show_default=False)],
    set_field: generation.SetOption = None,
    policy: PolicyOption = None,
    out: generation.OutOption = generation.DEFAULT_FOLDER,
    kind: generation.FormatOption = None,
    file_quality: generation.FileQualityOption = 95,
    keep_partial: generation.KeepPartialOption = False,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Generate from a picture: all of it, what a mask marks, or beyond its edges.

    The policy applies to the picture first, and to every result before it is written.
    """
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    fields = given_fields(ctx)
    checkpoint = fields.pop("checkpoint", None)
    settings = Settings.load(policy=policy, checkpoint=checkpoint, server=server)
    asked = {"prompt": prompt, "init_image": image, **fields}
    request = GenerationRequest.parse(**generation.apply_set_options(asked, set_field))
    target = generation.OutputTarget(out, kind, file_quality, request.count)
    if settings.server:
        remote.check_no_local_options(settings, policy=policy)
        remote.generate_and_write(settings, request, checkpoint, target, keep_partial=keep_partial, json=json)
        return
    print_stderr(f"Loading {request.checkpoint or settings.checkpoint} …")
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    generation.generate_and_write(
        studio, request, out, kind, file_quality, keep_partial=keep_partial, json=json
    )
