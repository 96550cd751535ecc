"""A backend of a plug-in computes a checkpoint's networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from safelight.errors import BackendError
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.moderation.classifiers.loading import load_classifier
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime.backends import Backend, BackendPlan
from safelight.runtime.proxy import NetworkProxy
from safelight.settings import Settings

COMPILED: list[tuple[str, BackendPlan]] = []
CALLS: list[int] = []
REQUEST = GenerationRequest(prompt="a red apple, 3d style", seed=7, steps=3, width=128, height=128)


class Counted(NetworkProxy):
    """A compiled network that counts the rows of its calls."""

    def forward(self, sample: object, *args: object, **kwargs: object) -> object:
        """The network's result."""
        CALLS.append(len(sample))  # type: ignore[arg-type]
        return super().forward(sample, *args, **kwargs)


def compile_toy(module: nn.Module, plan: BackendPlan, cache: Path | None) -> nn.Module:
    assert cache is not None
    COMPILED.append((type(module).__name__, plan))
    return Counted(module)


class Toy:
    """A plug-in with a backend for denoisers."""

    @hookimpl
    def register_backends(self, registry: Registry[Backend]) -> None:
        toy = Backend(
            "toy", ("fp32",), f"{__name__}:compile_toy", "numpy", graphs=False, components=("unet",)
        )
        registry.register("toy", toy)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    COMPILED.clear()
    CALLS.clear()
    with PLUGINS.registered(Toy(), "toy"):
        yield


def test_it_computes_the_starters_u_net_and_the_record_says_so(tmp_path: Path) -> None:
    (eager,) = Engine(Settings(home=tmp_path, device="cpu")).generate(REQUEST)
    assert CALLS == []
    engine = Engine(Settings(home=tmp_path, device="cpu", generation_backend="toy"))
    (picture,) = engine.generate(REQUEST)
    assert [(name, plan.backend, plan.precision) for name, plan in COMPILED] == [
        ("UNet2DConditionModel", "toy", "fp32")
    ]
    assert CALLS == [2, 2, 2]
    assert np.array_equal(np.asarray(picture.image), np.asarray(eager.image))
    assert eager.record.machine.backend == "eager"
    assert picture.record.machine.backend == engine.machine.backend == "toy"
    ours, theirs = picture.record.to_dict(), eager.record.to_dict()
    assert ours | {"machine": {**ours["machine"], "backend": "eager"}} == theirs


def test_a_backend_without_the_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="toy does not run checkpoints in bf16"):
        Engine(Settings(home=tmp_path, device="cpu", generation_backend="toy", generation_precision="bf16"))


def test_a_backend_for_classifiers_runs_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="onnxruntime does not run checkpoints") as caught:
        Engine(Settings(home=tmp_path, device="cpu", generation_backend="onnxruntime"))
    assert "eager and toy" in caught.value.hint


@pytest.mark.parametrize("name", ["toy", "eager"])
def test_a_backend_for_checkpoints_runs_no_classifier(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=f"{name} does not run classifiers"):
        load_classifier(Settings(home=tmp_path, backend=name))
