"""A backend of a plug-in computes a checkpoint's networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from torch import nn

from safelight.errors import BackendError
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.modifiers.modifier import Modifier
from safelight.generation.modifiers.registry import Layer, ModifierFactory
from safelight.generation.progress import Watcher
from safelight.generation.record import Machine
from safelight.generation.request import GenerationRequest
from safelight.jobs.worker.capabilities import describe_generation
from safelight.moderation.classifiers.loading import load_classifier
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime.backends import Backend, BackendPlan
from safelight.runtime.proxy import NetworkProxy
from safelight.settings import Settings

COMPILED: list[tuple[str, BackendPlan]] = []
CALLS: list[int] = []
REQUEST = GenerationRequest(prompt="a red apple, 3d style", seed=7, steps=3, width=128, height=128)


class Counted(NetworkProxy):
    """A compiled network that counts the rows of its calls, with the base class's signature."""

    def forward(self, *args: Any, **kwargs: Any) -> object:
        """The network's result."""
        CALLS.append(len([*args, *kwargs.values()][0]))
        return super().forward(*args, **kwargs)


class Brighter(NetworkProxy):
    """An autoencoder with other bytes than the eager one."""

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The picture, brighter."""
        (image,) = self.network.decode(*args, **kwargs)
        return (image + 0.25,)


def compile_toy(module: nn.Module, plan: BackendPlan, cache: Path | None) -> nn.Module:
    assert cache is not None
    COMPILED.append((type(module).__name__, plan))
    return Brighter(module) if hasattr(module, "decode") else Counted(module)


def toy_backend(name: str, *components: str, patchable: bool = False) -> Backend:
    return Backend(
        name,
        ("fp32",),
        f"{__name__}:compile_toy",
        "numpy",
        graphs=False,
        components=components,
        patchable=patchable,
    )


class Toy:
    """A plug-in with backends for several components."""

    @hookimpl
    def register_backends(self, registry: Registry[Backend]) -> None:
        for toy in (
            toy_backend("toy", "unet"),
            toy_backend("patchable", "unet", "text_encoder*", patchable=True),
            toy_backend("toy-decoder", "vae"),
            toy_backend("toy-transformer", "transformer"),
            toy_backend("toy-classifier"),
        ):
            registry.register(toy.name, toy)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    COMPILED.clear()
    CALLS.clear()
    with PLUGINS.registered(Toy(), "toy"):
        yield


MakeEngine = Callable[..., Engine]


@pytest.fixture
def engine_of(tmp_path: Path) -> MakeEngine:
    def make(backend: str = "eager", **settings: Any) -> Engine:
        return Engine(Settings(home=tmp_path, device="cpu", generation_backend=backend, **settings))

    return make


def pixels(engine: Engine, **fields: Any) -> np.ndarray:
    (picture,) = engine.generate(GenerationRequest.parse(**REQUEST.model_dump() | fields))
    return np.asarray(picture.image)


def test_it_computes_the_starters_u_net_and_the_record_says_so(engine_of: MakeEngine) -> None:
    (eager,) = engine_of().generate(REQUEST)
    assert CALLS == []
    engine = engine_of("toy")
    (picture,) = engine.generate(REQUEST)
    assert [(name, plan.backend, plan.precision) for name, plan in COMPILED] == [
        ("UNet2DConditionModel", "toy", "fp32")
    ]
    assert CALLS == [2, 2, 2]
    assert np.array_equal(np.asarray(picture.image), np.asarray(eager.image))
    assert eager.record.machine.backend == "eager"
    assert picture.record.machine.backend == engine.machine.backend == "toy"
    ours, theirs = picture.record.to_dict(), eager.record.to_dict()
    assert ours["machine"].pop("other_backends") == {"text_encoder": "eager", "vae": "eager"}
    assert ours | {"machine": {**ours["machine"], "backend": "eager"}} == theirs


def test_the_record_of_a_picture_with_an_eager_denoiser_names_the_backend_of_the_others(
    engine_of: MakeEngine,
) -> None:
    (eager,), (picture,) = engine_of().generate(REQUEST), engine_of("toy-decoder").generate(REQUEST)
    assert not np.array_equal(np.asarray(picture.image), np.asarray(eager.image))
    assert picture.record.machine.other_backends == {"vae": "toy-decoder"}
    assert picture.record.machine.model_copy(update={"other_backends": {}}) == eager.record.machine
    assert picture.record.notes == eager.record.notes == ()


def test_it_works_with_modifiers_that_do_not_patch_the_network(engine_of: MakeEngine) -> None:
    fields = {"guidance_rescale": 0.7, "guidance_end": 0.5}
    expected = pixels(engine_of(), **fields)
    assert np.array_equal(pixels(engine_of("toy"), **fields), expected)
    assert CALLS == [2, 2, 1]
    assert not np.array_equal(expected, pixels(engine_of()))


def test_pictures_of_two_threads_are_batched(engine_of: MakeEngine) -> None:
    engine = engine_of("toy", batch_timeout=1000)
    engine.preload("starter")
    barrier = Barrier(2)

    def generate(seed: int) -> Artifact:
        watcher = Watcher(lambda _: barrier.wait(30) and None)
        (picture,) = engine.generate(REQUEST.model_copy(update={"seed": seed}), watcher)
        return picture

    with ThreadPoolExecutor(2) as pool:
        pictures = list(pool.map(generate, (1, 2)))
    assert [picture.record.batched for picture in pictures] == [True, True]
    assert 4 in CALLS


PAG = {"pag_scale": 3.0}


def test_networks_that_cannot_be_patched_refuse_patches(engine_of: MakeEngine) -> None:
    with pytest.raises(BackendError, match="toy cannot patch a network") as caught:
        pixels(engine_of("toy"), **PAG)
    assert "generation_backend" in caught.value.hint


@pytest.mark.parametrize(("backend", "refused"), [("toy", "unet"), ("toy-decoder", "")])
def test_patches_of_a_whole_pass_are_refused_before_it_begins(
    engine_of: MakeEngine, backend: str, refused: str
) -> None:
    modifier = Modifier()
    modifier.patches = {"unet": (NoChange(),), "text_encoder": ()}
    with PLUGINS.registered(Patcher(modifier), "patcher"):
        if refused:
            with pytest.raises(BackendError, match=f"{backend} cannot patch"):
                pixels(engine_of(backend))
            assert CALLS == []
        else:
            pixels(engine_of(backend))


def test_networks_that_can_be_patched_are(engine_of: MakeEngine) -> None:
    expected = pixels(engine_of(), **PAG)
    assert np.array_equal(pixels(engine_of("patchable"), **PAG), expected)
    assert not np.array_equal(expected, pixels(engine_of()))
    assert {name for name, _ in COMPILED} == {"UNet2DConditionModel", "CLIPTextModel"}


class NoChange:
    """A patch without effect."""

    identity = "none"

    def apply(self, network: object) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()


class Patcher:
    """A plug-in with one modifier."""

    def __init__(self, modifier: Modifier) -> None:
        self.factory = ModifierFactory(Layer.NETWORK, lambda _: modifier)

    @hookimpl
    def register_modifiers(self, registry: Registry[ModifierFactory]) -> None:
        registry.register("patcher", self.factory)


def test_a_backend_for_none_of_the_checkpoints_networks_is_refused(engine_of: MakeEngine) -> None:
    with pytest.raises(BackendError, match="toy-transformer computes none of the networks") as caught:
        pixels(engine_of("toy-transformer"))
    assert "it is for transformer; the checkpoint has text_encoder, unet, vae" in str(caught.value)
    assert "eager" in caught.value.hint


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("eager", "PyTorch runs the networks as they are (eager), with"),
        (
            "patchable",
            (
                "patchable runs unet and text_encoder*, as the setting generation_backend says, "
                "and PyTorch runs the other networks as they are (eager), with"
            ),
        ),
    ],
)
def test_a_workers_capabilities_name_the_components(backend: str, said: str) -> None:
    machine = Machine(device="cpu", precision="fp32", backend=backend, threads=2)
    assert said in describe_generation(Settings.load(generation_backend=backend), machine)


def test_a_backend_without_the_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="toy does not run checkpoints in bf16"):
        Engine(Settings(home=tmp_path, device="cpu", generation_backend="toy", generation_precision="bf16"))


def test_a_backend_for_classifiers_runs_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="toy-classifier does not run checkpoints") as caught:
        Engine(Settings(home=tmp_path, device="cpu", generation_backend="toy-classifier"))
    assert "openvino and eager and inductor and tensorrt and toy and patchable" in caught.value.hint


@pytest.mark.parametrize("name", ["toy", "eager"])
def test_a_backend_for_checkpoints_runs_no_classifier(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=f"{name} does not run classifiers"):
        load_classifier(Settings(home=tmp_path, backend=name))
