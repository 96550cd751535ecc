"""``safelight generate``: images from a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli import drawing, remote
from safelight.cli.console import Json, PolicyName, print_json, say, warn

if TYPE_CHECKING:
    from safelight.settings import Settings


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to generate.", show_default=False)],
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
    hires: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Second pass at this multiple of the size.")
    ] = None,
    hires_upscaler: Annotated[
        str | None, typer.Option(metavar="NAME", help="latent, lanczos, or an upscaler's name.")
    ] = None,
    hires_strength: Annotated[float | None, typer.Option(metavar="X", help="0 to 1.")] = None,
    set_field: drawing.Set = None,
    policy: PolicyName = None,
    out: drawing.Out = drawing.PICTURES,
    kind: drawing.Format = None,
    quality: drawing.Quality = 95,
    keep_partial: drawing.Partial = False,
    server: remote.Server = None,
    explain_prompt: Annotated[
        bool, typer.Option("--explain-prompt", help="Show how the prompt is read; generate nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Generate pictures from a prompt.

    The policy applies before a picture is written; a blocked one is not written.
    Exit status 1: one was flagged.
    """
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    settings = Settings.load(policy=policy, checkpoint=checkpoint, server=server)
    second = drawing.given(scale=hires, upscaler=hires_upscaler, strength=hires_strength)
    fields = drawing.given(
        negative_prompt=negative,
        styles=tuple(style or ()),
        seed=seed,
        steps=steps,
        sampler=sampler,
        schedule=schedule,
        guidance_scale=guidance,
        count=count,
        clip_skip=clip_skip,
        hires=second or None,
    )
    asked = {"prompt": prompt, **fields, **drawing.sides(size)}
    request = GenerationRequest.parse(**drawing.with_settings(asked, set_field))
    if settings.server:
        remote.refuse(settings, policy=policy, explain_prompt=explain_prompt)
    if explain_prompt:
        _explain(settings, request, json)
        return
    target = drawing.Target(out, kind, quality, request.count)  # raises before anything is loaded
    if settings.server:
        remote.draw_and_write(settings, request, checkpoint, target, keep_partial=keep_partial, json=json)
        return
    warn(f"Loading {settings.checkpoint} …")
    from safelight.studio import Studio

    studio = Studio(settings, tell=warn)
    drawing.draw_and_write(studio, request, out, kind, quality, keep_partial=keep_partial, json=json)


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
        say(typer.style(name, bold=True))
        say(str(explanation))
