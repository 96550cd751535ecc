"""``safelight edit``: images from an image and a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli import generation, remote
from safelight.cli.console import JsonOption, PolicyOption, print_stderr


def edit(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The picture to start from.", show_default=False)
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to generate.", show_default=False)],
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="White where the picture is repainted.")
    ] = None,
    strength: Annotated[float | None, typer.Option(metavar="X", help="Denoising strength, 0 to 1.")] = None,
    fill: Annotated[
        str | None, typer.Option(metavar="NAME", help="Under the mask: original, blur or noise.")
    ] = None,
    blur: Annotated[int | None, typer.Option(metavar="PIXELS", help="Softness of the mask's edge.")] = None,
    only_masked: Annotated[
        bool, typer.Option("--only-masked", help="Generate only the masked part, at full size.")
    ] = False,
    padding: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Around the mask, with --only-masked.")
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Repaint where the mask is black.")] = False,
    left: Annotated[int, typer.Option(metavar="PIXELS", help="Extend beyond the left edge.")] = 0,
    right: Annotated[int, typer.Option(metavar="PIXELS", help="Extend beyond the right edge.")] = 0,
    top: Annotated[int, typer.Option(metavar="PIXELS", help="Extend beyond the top edge.")] = 0,
    bottom: Annotated[int, typer.Option(metavar="PIXELS", help="Extend beyond the bottom edge.")] = 0,
    negative: generation.NegativeOption = "",
    style: generation.StyleOption = None,
    checkpoint: generation.CheckpointOption = None,
    seed: generation.SeedOption = None,
    steps: generation.StepsOption = None,
    sampler: generation.SamplerOption = None,
    schedule: generation.ScheduleOption = None,
    guidance: generation.GuidanceOption = None,
    size: generation.SizeOption = None,
    count: generation.CountOption = 1,
    clip_skip: generation.ClipSkipOption = 1,
    set_field: generation.SetOption = None,
    policy: PolicyOption = None,
    out: generation.OutOption = generation.DEFAULT_FOLDER,
    kind: generation.FormatOption = None,
    quality: generation.QualityOption = 95,
    keep_partial: generation.KeepPartialOption = False,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Generate from a picture: all of it, what a mask marks, or beyond its edges.

    The policy applies to the picture first, and to every result before it is written.
    """
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    settings = Settings.load(policy=policy, checkpoint=checkpoint, server=server)
    beyond = {"left": left, "right": right, "top": top, "bottom": bottom}
    masked = generation.without_none(
        fill=fill, blur=blur, padding=padding, only_masked=only_masked, invert=invert
    )
    fields = generation.without_none(
        init_image=image,
        mask=mask,
        strength=strength,
        inpaint=masked,
        outpaint=beyond if any(beyond.values()) else None,
        negative_prompt=negative,
        styles=tuple(style or ()),
        seed=seed,
        steps=steps,
        sampler=sampler,
        schedule=schedule,
        guidance_scale=guidance,
        count=count,
        clip_skip=clip_skip,
    )
    asked = {"prompt": prompt, **fields, **generation.parse_size(size)}
    request = GenerationRequest.parse(**generation.apply_set_options(asked, set_field))
    target = generation.OutputTarget(out, kind, quality, request.count)
    if settings.server:
        remote.check_no_local_options(settings, policy=policy)
        remote.generate_and_write(settings, request, checkpoint, target, keep_partial=keep_partial, json=json)
        return
    print_stderr(f"Loading {settings.checkpoint} …")
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    generation.generate_and_write(studio, request, out, kind, quality, keep_partial=keep_partial, json=json)
