"""How fast each backend computes on this machine, by precision: measured once, with a network of three layers.

Whether bf16 is faster than fp32, and whether an engine is faster than PyTorch, depends on the processor, so nothing is
assumed. The measurement says whether compiling a form is worth trying; the form itself is timed beside the eager
network before it is used (``form.make_form``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from safelight.atomic_write import atomic_write
from safelight.errors import BackendError, OutputError
from safelight.runtime.backends import BACKENDS, EAGER, Backend, BackendPlan
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.compilation.form import form_engine
from safelight.runtime.compilation.values import CallModule, NetworkCall
from safelight.runtime.machine import inspect_machine, package_version

WORTHWHILE = 1.15
"""A form is compiled if its backend is at least so many times as fast as the eager network: less is within what such a
measurement is off by."""
_PRECISIONS = ("fp32", "bf16")
_ROUNDS = 7
_SHAPES = ((2, 640, 16, 16), (2, 256, 640), (2, 1280, 4, 4))
"""The sample's inputs; what was measured with others does not count any more."""
_COPIED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Speeds:
    """What was measured on this machine.

    Args:
        gflops: Arithmetic by backend and precision, as {"openvino fp32": 420.0}, in 10⁹ operations a second.
        gigabytes: Bytes copied in memory, in 10⁹ a second.
        threads: The threads that computed.
        problems: Why a backend could not be measured, by its name.
    """

    gflops: Mapping[str, float]
    gigabytes: float
    threads: int
    problems: Mapping[str, str] = field(default_factory=dict)

    def speedup(self, backend: str, precision: str, over: str = "") -> float:
        """How many times as fast as the eager network a backend computes; 0 if it could not.

        Args:
            backend: The backend.
            precision: Its precision.
            over: The eager network's precision; the same one if not given.
        """
        eager = self.gflops.get(f"{EAGER} {over or precision}", 0.0)
        return self.gflops.get(f"{backend} {precision}", 0.0) / eager if eager else 0.0


def known_speeds(cache: Path) -> Speeds | None:
    """What was measured before, with the same processor, threads and engines."""
    try:
        return Speeds(**json.loads(_path(cache).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find_speeds(cache: Path) -> Speeds:
    """What was measured before, or is measured now, which takes up to a minute where a C++ compiler is at work."""
    if (known := known_speeds(cache)) is not None:
        return known
    measured = measure_speeds()
    with (
        suppress(OutputError),
        atomic_write(_path(cache)) as temporary,
    ):  # else the next process measures again
        temporary.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def measure_speeds(backends: Sequence[Backend] = ()) -> Speeds:
    """Measure backends that compute on processors, in alternating rounds; the best round counts.

    Args:
        backends: Which, beside eager; all of them if none is given.
    """
    threads = torch.get_num_threads()
    runs: dict[str, Callable[[], object]] = {}
    problems: dict[str, str] = {}
    sample = _Sample().eval().requires_grad_(False)
    with torch.no_grad(), TemporaryDirectory() as folder:
        for precision in _PRECISIONS:
            network = _Sample().eval().requires_grad_(False).to(DTYPES[precision])
            tensors = tuple(tensor.to(DTYPES[precision]) for tensor in sample.example())
            runs[f"{EAGER} {precision}"] = partial(network, *tensors)
        for backend in backends or BACKENDS.values():
            if backend.forms and "cpu" in backend.devices:
                for precision in set(_PRECISIONS).intersection(backend.form_precisions("cpu")):
                    plan = BackendPlan(backend.name, precision, threads)
                    try:
                        runs[str(plan)] = _form_run(sample, plan, Path(folder) / str(plan))
                    except (BackendError, RuntimeError) as error:  # not installed, or not here
                        if precision == "fp32":  # without bf16 it is still of use
                            problems[backend.name] = str(error).splitlines()[0]
        seconds = dict.fromkeys(runs, float("inf"))
        for _ in range(_ROUNDS):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    gflops = {name: round(sample.operations / best / 1e9, 1) for name, best in seconds.items()}
    return Speeds(gflops, round(_copied_bytes_per_second() / 1e9, 1), threads, problems)


class _Sample(nn.Module):
    """Three layers of a U-Net.

    A convolution and a linear layer are of its middle, where most of the arithmetic is. The convolution of its bottom
    has many channels and few pixels: engines differ most there, since they put the weights into the order of the
    processor's kernels at each call, or once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(640, 640, 3, padding=1), nn.Linear(640, 2560)
        self.bottom = nn.Conv2d(1280, 1280, 3, padding=1)

    def forward(self, picture: Tensor, tokens: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The layers' results."""
        return self.convolution(picture), self.linear(tokens), self.bottom(bottom)

    @staticmethod
    def example() -> tuple[Tensor, Tensor, Tensor]:
        """Inputs."""
        generator = torch.Generator().manual_seed(0)
        picture, tokens, bottom = (torch.randn(shape, generator=generator) for shape in _SHAPES)
        return picture, tokens, bottom

    @property
    def operations(self) -> int:
        """Multiplications and additions of a call with the example."""
        return 2 * 2 * (256 * (640 * 640 * 9 + 640 * 2560) + 16 * 1280 * 1280 * 9)


def _form_run(sample: _Sample, plan: BackendPlan, folder: Path) -> Callable[[], object]:
    call = NetworkCall.of(sample, "forward", sample.example(), {})
    folder.mkdir()
    engine = form_engine(plan.backend)
    engine.check()
    engine.convert(CallModule(sample, call.method, call.structure).eval(), call.tensors, folder)
    form = engine.load(folder, plan)
    return lambda: form.run(call.tensors)


def _copied_bytes_per_second() -> float:
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - started)
    return _COPIED_BYTES / best


def _path(cache: Path) -> Path:
    machine = inspect_machine()
    backends = BACKENDS.values()
    packages = {backend.package: package_version(backend.package) for backend in backends}
    programs = [name for backend in backends for name in backend.programs if shutil.which(name)]
    facts = [machine.processor, machine.vector_units, torch.get_num_threads(), packages, programs, _SHAPES]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache / "probe" / f"generation-{name}.json"
