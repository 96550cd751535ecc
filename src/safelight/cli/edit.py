"""``safelight edit``: images from an image and a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli import drawing, remote
from safelight.cli.console import Json, PolicyName, warn


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
    negative: drawing.Negative = "",
    style: drawing.Style = None,
    checkpoint: drawing.Checkpoint = None,
    seed: drawing.SeedOption = None,
    steps: drawing.StepsOption = None,
    sampler: drawing.SamplerOption = None,
    schedule: drawing.Schedule = None,
    guidance: drawing.GuidanceOption = None,
    size: drawing.Size = None,
    count: drawing.Count = 1,
    clip_skip: drawing.ClipSkip = 1,
    set_field: drawing.Set = None,
    policy: PolicyName = None,
    out: drawing.Out = drawing.PICTURES,
    kind: drawing.Format = None,
    quality: drawing.Quality = 95,
    keep_partial: drawing.Partial = False,
    server: remote.Server = None,
    json: Json = False,
) -> None:
    """Generate from a picture: all of it, what a mask marks, or beyond its edges.

    The policy applies to the picture first, and to every result before it is written.
    """
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    settings = Settings.load(policy=policy, checkpoint=checkpoint, server=server)
    beyond = {"left": left, "right": right, "top": top, "bottom": bottom}
    masked = drawing.given(fill=fill, blur=blur, padding=padding, only_masked=only_masked, invert=invert)
    fields = drawing.given(
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
    asked = {"prompt": prompt, **fields, **drawing.sides(size)}
    request = GenerationRequest.parse(**drawing.with_settings(asked, set_field))
    target = drawing.Target(out, kind, quality, request.count)
    if settings.server:
        remote.refuse(settings, policy=policy)
        remote.draw_and_write(settings, request, checkpoint, target, keep_partial=keep_partial, json=json)
        return
    warn(f"Loading {settings.checkpoint} …")
    from safelight.studio import Studio

    studio = Studio(settings, tell=warn)
    drawing.draw_and_write(studio, request, out, kind, quality, keep_partial=keep_partial, json=json)
