"""Try Safelight on an accelerator, and print a report in Markdown: `make test-gpu`, or `python -m bench.gpu`.

    python -m bench.gpu [--device cuda:1] [--minutes 10] [--only pictures families …] [--families sd1 flux …]

What matters most comes first: the starter in every precision beside the CPU's picture, a tiny checkpoint of every
family, memory, batches, placement, backends, speed at the size of Stable Diffusion 1.5, classifiers. What the time does
not suffice for is named. Ends with 1 if something failed, and with 2 without an accelerator; `--device cpu` tries the
script itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safelight import __version__
from safelight.errors import BackendError, RunStoppedError, SafelightError
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.request import GenerationRequest
from safelight.images import decode
from safelight.models.families import FAMILIES, INPAINT, TEXT
from safelight.moderation import load_classifier
from safelight.runtime.backends import BACKENDS, EAGER, graph_backends
from safelight.runtime.devices import AUTO, CPU, find_device
from safelight.runtime.devices.device import Device
from safelight.runtime.machine import inspect_machine, package_version
from safelight.samples import sample_photographs
from safelight.settings import Settings
from safelight.studio.quantization import psnr

EXACT, CLOSE, SIMILAR = 50.0, 35.0, 25.0
"""The least PSNR in dB against the CPU's picture: in fp32, of the starter in less, of random weights in less."""
SCORE = 0.01
"""How much a classifier's score may differ."""
BATCH = 8
COMPILING = 90
"""Seconds that a backend may take to compile the starter's networks."""
PROMPT = "a red apple"

Rows = list[tuple[str, Callable[[], Sequence[object]]]]
"""The name of each row, and what makes it."""


class ChangedError(Exception):
    """A result is further from what was expected than it may be."""


@dataclass
class Report:
    """What was tried, as it is printed.

    Args:
        minutes: The limit; a check that would begin later is left out, and pictures that take longer are stopped.

    Attributes:
        failed: Checks that failed, with the reason.
        left_out: Checks that the time did not suffice for.
    """

    minutes: float
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds_left(self) -> float:
        """Seconds until the limit."""
        return self.minutes * 60 - (time.monotonic() - self._began)

    def table(self, title: str, columns: str, rows: Rows) -> None:
        """Make a table, one row after the other; a row that fails says why, and the others are made all the same.

        Args:
            title: Its title.
            columns: The headings of what a row's function returns, separated by |.
            rows: Its rows.
        """
        print(f"\n### {title}\n\n| | {columns} |\n|---|{'---|' * len(columns.split('|'))}", flush=True)
        for name, make in rows:
            if self.seconds_left <= 0:
                self.left_out.append(f"{title}: {name}")
                continue
            print(f"{title}: {name} …", file=sys.stderr, flush=True)
            try:
                cells = [_cell(value) for value in make()]
            except RunStoppedError:
                self.left_out.append(f"{title}: {name}")
                continue
            except Exception as error:  # noqa: BLE001  the next check may tell more
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                self.failed.append(f"{title}: {name}: {reason}")
                cells = [f"**failed**: {reason}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


@dataclass(frozen=True)
class Bench:
    """The accelerator, and pictures on it.

    Args:
        device: The accelerator.
        name: Its name for settings.
        home: A data directory.
        report: Where results go.
        steps: Steps of the starter's pictures.
        rounds: How often a picture is generated for its time, after a first one.
    """

    device: Device
    name: str
    home: Path
    report: Report
    steps: int = 20
    rounds: int = 3
    _expected: dict[str, Artifact] = field(default_factory=dict, init=False)

    def engine(self, **settings: Any) -> Engine:
        """An engine on the accelerator without other backends than eager, unless told otherwise."""
        usual = {"home": self.home, "device": self.name, "generation_backend": EAGER, "batch_timeout": 1000}
        return Engine(Settings(**(usual | settings)))

    def draw(self, engine: Engine, watcher: Watcher | None = None, **fields: Any) -> Artifact:
        """A picture, by default the starter's; it is stopped when the time is over.

        Raises:
            RunStoppedError: The time was over.
        """
        usual = {
            "prompt": PROMPT,
            "seed": 7,
            "checkpoint": "starter",
            "steps": self.steps,
            "quality": "balanced",
        }
        told = watcher or Watcher()
        watched = Watcher(told.on_progress, should_stop=lambda: self.report.seconds_left <= 0)
        return next(engine.generate(GenerationRequest.parse(**(usual | fields)), watched))

    def measure(self, engine: Engine, **fields: Any) -> tuple[Artifact, float, int]:
        """A picture, the median of its seconds without loading, and the most bytes on the accelerator."""
        self.draw(engine, **fields)
        self.device.reset_peak()
        drawn = [self.draw(engine, **fields) for _ in range(self.rounds)]
        return drawn[-1], statistics.median(each.seconds for each in drawn), self.device.peak_bytes()

    def on_cpu(self, **fields: Any) -> Artifact:
        """The picture of the CPU in fp32, which is generated once."""
        key = repr(sorted(fields.items()))
        if key not in self._expected:
            engine = self.engine(device=CPU, generation_precision="fp32")
            self._expected[key] = self.draw(engine, **fields)
        return self._expected[key]

    @property
    def precisions(self) -> list[str]:
        """All that the accelerator computes in, fp32 first."""
        return ["fp32", *sorted(self.device.halves)]


def pictures(bench: Bench) -> None:
    """The starter in each precision, and in each way to make a picture."""
    ways: dict[str, dict[str, Any]] = {
        "two passes": {"hires": {"scale": 2, "steps": 8, "upscaler": "starter-2x"}},
        "image-to-image": {
            "init_image": sample_photographs()[0],
            "width": 128,
            "height": 128,
            "strength": 0.7,
        },
        "step cache": {"step_cache": "deep"},
        "token merging": {"token_merging": 0.25},
        "perturbed attention": {"pag_scale": 2.0},
    }
    rows: Rows = [(f"text, {each}", partial(_picture, bench, each, {})) for each in bench.precisions]
    rows += [(f"{way}, fp32", partial(_picture, bench, "fp32", fields)) for way, fields in ways.items()]
    bench.report.table("Pictures of the starter", "seconds | on the CPU | PSNR | peak MB", rows)


def _picture(bench: Bench, precision: str, fields: dict[str, Any], **settings: Any) -> Sequence[object]:
    expected = bench.on_cpu(**fields)
    made, seconds, peak = bench.measure(bench.engine(generation_precision=precision, **settings), **fields)
    found = _check(made, expected, EXACT if precision == "fp32" else CLOSE)
    return f"{seconds:.3f}", f"{expected.seconds:.3f}", found, _megabytes(peak)


def families(bench: Bench, names: Sequence[str]) -> None:
    """A tiny checkpoint with random weights of every family, in the family's precisions."""
    columns = "PSNR in fp32 | PSNR in its precisions | precisions | seconds"
    rows: Rows = [(name, partial(_family, bench, name)) for name in names]
    bench.report.table("Families, tiny and with random weights", columns, rows)


def _family(bench: Bench, name: str) -> Sequence[object]:
    from tests.tiny import build_tiny
    from tests.tiny.generation import INIT_IMAGE, MASK, SIDE

    family = FAMILIES[name]
    with tempfile.TemporaryDirectory() as folder:
        fields: dict[str, Any] = {"checkpoint": str(build_tiny(name, Path(folder) / name)), "steps": 2}
        if TEXT in family.modes:
            fields |= {"width": SIDE, "height": SIDE}
        else:
            fields |= {"init_image": INIT_IMAGE, "strength": 1.0}
        if family.modes == (INPAINT,):
            fields["mask"] = MASK
        if family.references is not None and family.references.required:
            fields["references"] = [{"image": INIT_IMAGE}]
        expected = bench.on_cpu(**fields)
        exact = bench.draw(bench.engine(generation_precision="fp32"), **fields)
        usual = bench.draw(bench.engine(), **fields)
    machine = usual.record.machine
    others = "".join(f", {each} {own}" for each, own in machine.other_precisions.items())
    least = EXACT if machine.precision + others == "fp32" else SIMILAR
    return (
        _check(exact, expected, EXACT),
        _check(usual, expected, least),
        machine.precision + others,
        f"{usual.seconds:.2f}",
    )


def memory(bench: Bench) -> None:
    """What the driver says before, with, and after networks; and the starter in less memory than it takes."""
    columns = "MB free before | taken with the starter | still taken after unloading"
    bench.report.table("The driver's memory", columns, [("starter", partial(_driver_memory, bench))])
    columns = "steps taken | MB planned/measured by stage | PSNR | shortages"
    rows: Rows = [(f"{share:.0%} of its peak", partial(_offloaded, bench, share)) for share in (1, 0.6, 0.4)]
    bench.report.table("The starter at 512 x 512 in less memory", columns, rows)


def _driver_memory(bench: Bench) -> Sequence[object]:
    device = bench.device
    before = device.memory().free
    engine = bench.engine()
    bench.draw(engine)
    loaded = before - device.memory().free
    engine.unload()
    device.empty_cache()
    return _megabytes(before), _megabytes(loaded), _megabytes(before - device.memory().free)


def _offloaded(bench: Bench, share: float) -> Sequence[object]:
    fields: dict[str, Any] = {"width": 512, "height": 512, "steps": 4}  # where decoding takes most
    usual = bench.draw(bench.engine(), **fields)
    assert usual.memory is not None
    budget = max(int(share * max(usual.memory.measured.values(), default=0)), 1)
    engine = bench.engine(memory_budget=budget, memory_steps=("phases", "tiling", "blocks", "disk"))
    made = bench.draw(engine, **fields)
    assert made.memory is not None
    steps = () if made.memory.plan is None else made.memory.plan.steps
    stages = ", ".join(
        f"{stage} {_megabytes(planned or 0)}/{_megabytes(measured or 0)}"
        for stage, (planned, measured) in made.memory.by_stage().items()
    )
    found = _check(made, usual, SIMILAR if "tiling" in steps else EXACT)
    return ", ".join(steps) or "none", stages, found, engine.shortages


def batches(bench: Bench) -> None:
    """Pictures of several threads, which are computed together."""
    columns = "pictures/s alone | together | ratio | least PSNR"
    bench.report.table(f"A batch of {BATCH}", columns, [("starter", partial(_batch, bench))])


def _batch(bench: Bench) -> Sequence[object]:
    engine = bench.engine(max_batch_size=BATCH)
    bench.draw(engine)
    alone = [bench.draw(engine, seed=seed) for seed in range(BATCH)]
    seconds = sum(each.seconds for each in alone)
    ready = threading.Barrier(BATCH)

    def generate(seed: int) -> Artifact:
        begun: list[RunProgress] = []

        def wait(progress: RunProgress) -> None:
            if not begun:
                begun.append(progress)
                ready.wait(60)

        return bench.draw(engine, Watcher(wait), seed=seed)

    began = time.perf_counter()
    with ThreadPoolExecutor(BATCH) as pool:
        together = list(pool.map(generate, range(BATCH)))
    took = time.perf_counter() - began
    if not all(each.record.batched for each in together):
        raise ChangedError("not all pictures were batched")
    least = min(float(_check(*pair, CLOSE)) for pair in zip(together, alone, strict=True))
    return f"{BATCH / seconds:.2f}", f"{BATCH / took:.2f}", f"{seconds / took:.2f}", f"{least:.1f}"


def placement(bench: Bench) -> None:
    """Components on the CPU while the denoiser is on the accelerator."""
    names = ("text_encoder_device", "vae_device")
    rows: Rows = [(f"{name}={CPU}", partial(_picture, bench, "fp32", {}, **{name: CPU})) for name in names]
    bench.report.table("Components on the CPU", "seconds | on the CPU | PSNR | peak MB", rows)


def backends(bench: Bench) -> None:
    """Every installed backend that computes checkpoints on the accelerator."""
    kind = bench.device.torch_device.type
    installed = [each for each in BACKENDS.values() if package_version(each.package) is not None]
    found = [each for each in installed if each.name != EAGER and each.components]
    rows: Rows = [
        (f"{each.name} {precision}", partial(_backend, bench, each.name, precision))
        for each in found
        for precision in (each.form_precisions(kind) if each.forms else each.precisions)
        if precision in bench.precisions
    ]
    bench.report.table("Other backends, starter", "ran | seconds | PSNR | peak MB", rows)


def _backend(bench: Bench, name: str, precision: str) -> Sequence[object]:
    expected = bench.on_cpu()
    engine = bench.engine(generation_backend=name, generation_precision=precision)
    until = time.monotonic() + COMPILING
    while name not in bench.draw(engine).record.machine.all_backends and time.monotonic() < until:
        time.sleep(1)  # its networks are compiled in another process
    made, seconds, peak = bench.measure(engine)
    ran = made.record.machine.all_backends
    if name not in ran:
        raise ChangedError(f"nothing was compiled within {COMPILING} s")
    found = _check(made, expected, EXACT if precision == "fp32" else CLOSE)
    return " and ".join(sorted(ran)), f"{seconds:.3f}", found, _megabytes(peak)


def speed(bench: Bench) -> None:
    """The time of pictures at the size of Stable Diffusion 1.5, with random weights."""
    from bench.random_checkpoint import write_random

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_random(Path(folder) / "sd1")
        rows: Rows = [
            (f"{precision}, {quality}", partial(_speed, bench, checkpoint, precision, quality))
            for precision in sorted(bench.precisions, reverse=True)
            for quality in ("balanced", "fast")
        ]
        title = f"Speed at Stable Diffusion 1.5's size, 512 x 512, {bench.steps} steps"
        bench.report.table(title, "seconds | steps/s, with text and decoding | peak MB", rows)


def _speed(bench: Bench, checkpoint: Path, precision: str, quality: str) -> Sequence[object]:
    fields: dict[str, Any] = {"checkpoint": str(checkpoint), "width": 512, "height": 512, "quality": quality}
    _, seconds, peak = bench.measure(bench.engine(generation_precision=precision), **fields)
    return f"{seconds:.2f}", f"{bench.steps / seconds:.1f}", _megabytes(peak)


def classifiers(bench: Bench) -> None:
    """The embedded classifier with each backend."""
    rows: Rows = [
        (f"{each.name} {precision}", partial(_classifier, bench, each.name, precision))
        for each in graph_backends()
        for precision in each.precisions
    ]
    columns = "photographs/s, without decoding | largest difference of a score"
    bench.report.table("Classifiers: open-nsfw", columns, rows)


def _classifier(bench: Bench, name: str, precision: str) -> Sequence[object]:
    exact = load_classifier(Settings(home=bench.home, exact=True), "open-nsfw")
    other = load_classifier(Settings(home=bench.home, backend=name, precision=precision), "open-nsfw")
    photographs = [decode(path).image for path in sample_photographs()]
    squares = np.stack([exact.prepare(each) for each in photographs] * 8)
    expected, found = (
        np.array([list(each.scores.values()) for each in classifier.predict(squares)])
        for classifier in (exact, other)
    )
    began = time.perf_counter()
    for _ in range(bench.rounds):
        other.predict(squares)
    rate = bench.rounds * len(squares) / (time.perf_counter() - began)
    distance = float(np.abs(expected - found).max())
    if distance > SCORE:
        raise ChangedError(f"a score differs by {distance:.3f}")
    return f"{rate:.0f}", f"{distance:.4f}"


CHECKS: dict[str, Callable[[Bench], None]] = {
    "pictures": pictures,
    "memory": memory,
    "batches": batches,
    "placement": placement,
    "backends": backends,
    "speed": speed,
    "classifiers": classifiers,
}
"""The other checks, in the order of importance; families come after pictures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, run the checks and print the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=AUTO, help="auto: the machine's accelerator")
    parser.add_argument("--minutes", type=float, default=10, help="the limit")
    parser.add_argument("--only", nargs="+", choices=("families", *CHECKS), default=["families", *CHECKS])
    parser.add_argument(
        "--families", nargs="+", choices=list(FAMILIES), help="by default all with a tiny checkpoint"
    )
    parser.add_argument("--steps", type=int, default=20, help="of most pictures")
    parser.add_argument("--rounds", type=int, default=3, help="of each time, whose median counts")
    given = parser.parse_args(arguments)
    try:
        device = find_accelerator(given.device)
    except SafelightError as error:
        print(f"{error.message}\n{error.hint or ''}", file=sys.stderr)
        return 2
    report = Report(given.minutes)
    with tempfile.TemporaryDirectory() as home:
        name = str(device.torch_device)
        bench = Bench(device, name, Path(home), report, given.steps, given.rounds)
        print_machine(device)
        for check, run in CHECKS.items():
            if check in given.only:
                run(bench)
            if check == "pictures" and "families" in given.only:
                families(bench, given.families or tiny_families())
    print_summary(report)
    return 1 if report.failed else 0


def find_accelerator(name: str) -> Device:
    """The device with a name.

    Raises:
        BackendError: This machine does not have it; or the name is auto, and there is no accelerator.
    """
    device = find_device(name)
    if name == AUTO and device.torch_device.type == CPU:
        raise BackendError(
            "torch finds no accelerator on this machine.",
            hint="Check its driver and torch's build (safelight doctor). --device cpu tries the script itself.",
        )
    return device


def tiny_families() -> list[str]:
    """The families that there is a tiny checkpoint of; variants come last."""
    from tests.tiny import TINY

    return sorted((name for name in FAMILIES if name in TINY), key=lambda name: bool(FAMILIES[name].variant))


def print_machine(device: Device) -> None:
    """What the report was made on."""
    machine = inspect_machine()
    packages = {each.package for each in BACKENDS.values()} | {"diffusers", "transformers"}
    versions = ", ".join(f"{name} {package_version(name) or 'missing'}" for name in sorted(packages))
    print(f"## Safelight {__version__} on {device.title}\n")
    print(
        f"{device.details}; {_megabytes(device.memory().total)} MB, {_megabytes(device.memory().free)} free. ",
        end="",
    )
    print(f"Processor: {machine.processor}. {versions}.")
    print(f"{time.strftime('%Y-%m-%d')}, {torch.get_num_threads()} threads.", flush=True)


def print_summary(report: Report) -> None:
    """What failed and what was left out."""
    for title, found in (("Failed", report.failed), ("Not run, since the time was over", report.left_out)):
        if found:
            print(f"\n### {title}\n\n" + "\n".join(f"- {each}" for each in found))
    if not report.failed:
        print("\nEverything that was run passed.")


def _check(made: Artifact, expected: Artifact, least: float) -> str:
    """The PSNR of a picture.

    Raises:
        ChangedError: It is less than it may be.
    """
    found = float(psnr(np.asarray(made.image), np.asarray(expected.image)))
    if found < least:
        raise ChangedError(f"PSNR {found:.1f} dB; at least {least:.0f} were expected")
    return f"{found:.1f}"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.0f}"


def _cell(value: object) -> str:
    return str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
