"""Load a classifier by name and compile it for this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.atomic_write import path_exists
from safelight.errors import BackendError, ClassifierUnknownError, ModelInvalidError, UsageError
from safelight.models.classifiers.classifier_store import PINNED_SOURCES, ClassifierStore
from safelight.moderation.classifiers.cascade import CascadedNetwork, QuantizedForm
from safelight.moderation.classifiers.classifier import ClassifierInfo, NetworkClassifier
from safelight.moderation.classifiers.definition import CLASSIFIERS, ClassifierDefinition
from safelight.moderation.classifiers.timm_config import read_timm_config
from safelight.moderation.classifiers.timm_convert import is_converted, load_converted
from safelight.runtime.backends import INT8, BackendPlan, CompiledNetwork, Outputs, compile_network
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.devices import DEVICES
from safelight.runtime.graph import EMBEDDING, PROBABILITIES, OnnxGraph
from safelight.runtime.machine import INTEGER_UNITS, inspect_machine, usable_cores
from safelight.runtime.pool import ModelPool
from safelight.runtime.probe import candidate_plans, choose_fastest_plan, known_plan
from safelight.settings import Settings


def load_classifier(
    settings: Settings,
    name: str | None = None,
    *,
    pool: ModelPool | None = None,
    on_message: Callable[[str], None] = lambda _: None,
) -> NetworkClassifier:
    """Load and compile a classifier.

    Args:
        settings: The model folder, and the requested backend, precision and mode (fast or exact).
        name: A registered classifier, the name of a pulled model, or a folder; by default the setting's.
        pool: Where its network is kept; while it classifies nothing, it may be evicted, and is then loaded again for
            the next picture. Without a pool it stays in memory.
        on_message: Called with a line for the user before something that takes longer.

    Raises:
        ClassifierUnknownError: The name is unknown.
        ModelNotPulledError: The model has to be pulled first.
        ModelInvalidError, PickleRefusedError, FileMissingError: Its files cannot be used.
        BackendError: The backend or precision does not work on this machine.
        MemoryBudgetError: It does not fit the pool.
    """
    definition = load_definition(settings, name, on_message=on_message)
    plan = choose_plan(definition, settings, on_message=on_message)
    key = ComponentKey(definition.digest, plan.precision, plan.backend)
    loader = _NetworkLoader(settings, name, key, plan, definition)
    source = ComponentSource(key, len(definition.graph.onnx), loader.load)
    network: CompiledNetwork = PooledNetwork(pool, source) if pool else loader.load().network
    blank = np.zeros((1, definition.graph.height, definition.graph.width, 3), np.uint8)
    info = ClassifierInfo(
        name=definition.name,
        digest=definition.digest,
        labels=definition.labels,
        embedding_dim=network.run(blank)[EMBEDDING].shape[1],
        arithmetic=_describe_arithmetic(definition, plan, exact=settings.exact),
    )
    return NetworkClassifier(info, network, definition.preprocessing, settings.exact)


def _describe_arithmetic(definition: ClassifierDefinition, plan: BackendPlan, *, exact: bool) -> str:
    mode = "exact" if exact else "fast"
    if plan.precision != INT8:
        return f"{mode}, {plan}"
    form = _quantized_form(definition)
    return f"{mode}, {plan} below {form.unsafe_below}, fp32 from there on"


@dataclass(frozen=True)
class PooledNetwork:
    """A compiled network that is leased from a pool while it runs.

    Args:
        pool: The pool.
        source: The network.
    """

    pool: ModelPool
    source: ComponentSource

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See ``CompiledNetwork.run``.

        Raises:
            MemoryBudgetError: It does not fit the pool.
            ModelInvalidError: It was evicted, and its files have been replaced since.
        """
        with self.pool.lease([self.source]) as (component,):
            network: CompiledNetwork = component.network
            return network.run(pixels)


@dataclass
class _NetworkLoader:
    """Compiles a classifier's network; its definition is read again after the first time, to keep no weights."""

    settings: Settings
    name: str | None
    key: ComponentKey
    plan: BackendPlan
    definition: ClassifierDefinition | None

    def load(self) -> Component:
        definition, self.definition = self.definition or load_definition(self.settings, self.name), None
        if definition.digest != self.key.digest:
            raise ModelInvalidError(
                f"The files of the classifier {definition.name} were replaced while it was in use.",
                hint="Start Safelight again.",
            )
        network = _compile(definition, self.plan, self.settings.cache_folder)
        return Component(self.key, network, len(definition.graph.onnx))


def _compile(definition: ClassifierDefinition, plan: BackendPlan, cache: Path) -> CompiledNetwork:
    if plan.precision != INT8:
        return compile_network(definition.graph, plan, cache)
    form = _quantized_form(definition)
    network = CascadedNetwork(
        compile_network(form.define(), plan, cache),
        compile_network(definition.graph, replace(plan, precision="fp32"), cache),
        definition.labels.index(form.safe_label),
        form.unsafe_below,
    )
    network.check(definition.probe_inputs())
    return network


def _quantized_form(definition: ClassifierDefinition) -> QuantizedForm:
    """Return the int8 form of a classifier that is to run on this machine.

    Raises:
        BackendError: It has none, or the processor has no instructions for it.
    """
    if definition.quantized is None:
        raise BackendError(
            f"{definition.name} has no int8 form.", hint="Choose another precision, such as auto."
        )
    if not INTEGER_UNITS & set(inspect_machine().vector_units):
        raise BackendError(
            "This processor has no integer dot products (VNNI), without which int8 is inexact."
        )
    return definition.quantized


def choose_plan(
    definition: ClassifierDefinition,
    settings: Settings,
    *,
    on_message: Callable[[str], None] = lambda _: None,
) -> BackendPlan:
    """Choose backend, precision and threads: as requested, reference arithmetic, or the probe's fastest."""
    if settings.moderation_device != "cpu":
        return _accelerator_plan(settings)
    if settings.exact:
        return _reference_plan(settings)
    plans = candidate_plans(settings.backend, settings.precision, settings.threads)
    # The plan is usually cached, and then no probe images are needed.
    settled = known_plan(definition.graph, plans, settings.cache_folder)
    return settled or choose_fastest_plan(
        definition.graph, plans, definition.probe_inputs(), settings.cache_folder, on_message
    )


def _reference_plan(settings: Settings) -> BackendPlan:
    """Return the plan of reference arithmetic: fp32, on ONNX Runtime unless another backend is requested."""
    if settings.precision not in ("auto", "fp32"):
        raise UsageError(
            f"exact means fp32, and {settings.precision} was asked for too.", hint="Leave out one of the two."
        )
    backend = "onnxruntime" if settings.backend == "auto" else settings.backend
    return BackendPlan(backend, "fp32", settings.threads or usable_cores())


def _accelerator_plan(settings: Settings) -> BackendPlan:
    """Return the plan on an accelerator: fp32, on ONNX Runtime.

    Raises:
        BackendError: There is no such kind of devices.
        UsageError: Another setting asks for something else.
    """
    kind, colon, number = settings.moderation_device.partition(":")
    device = f"{DEVICES[kind].torch_type}{colon}{number}"
    asked = {"backend": settings.backend, "precision": settings.precision, "exact": settings.exact}
    right = {"backend": ("auto", "onnxruntime"), "precision": ("auto", "fp32"), "exact": (False,)}
    for name, value in asked.items():
        if value not in right[name]:
            raise UsageError(
                f"On {settings.moderation_device} classifiers run on onnxruntime in fp32, and {name} is {value}.",
                hint="Set moderation_device to cpu, or leave out the other setting.",
            )
    threads = settings.threads or usable_cores()
    return BackendPlan("onnxruntime", "fp32", threads, device)


def load_definition(
    settings: Settings, name: str | None = None, *, on_message: Callable[[str], None] = lambda _: None
) -> ClassifierDefinition:
    """Find a classifier and read its graph, labels and preprocessing; see ``load_classifier`` for the errors."""
    name = name or settings.classifier
    if name in CLASSIFIERS:
        return CLASSIFIERS[name].define()
    return _timm_definition(name, classifier_folder(name, settings), settings.cache_folder, on_message)


def classifier_folder(name: str, settings: Settings) -> Path:
    """Return a classifier's folder: the given one, or that of a pulled model."""
    store = ClassifierStore(settings.models_folder)
    if name in PINNED_SOURCES or store.has(name):
        return store.folder(name)
    if name.startswith((".", "/", "~")) or path_exists(Path(name)):
        return Path(os.path.expanduser(name))  # noqa: PTH111  Path.expanduser raises for an unknown user
    if name.count("/") == 1:  # a hub id that was not pulled: folder() raises an error that says how to
        return store.folder(name)
    raise ClassifierUnknownError(f"There is no classifier {name!r}.")


def _timm_definition(
    name: str, folder: Path, cache: Path, on_message: Callable[[str], None]
) -> ClassifierDefinition:
    config = read_timm_config(folder)
    if not is_converted(config, cache):
        on_message(f"Converting {name} for this machine (once) …")
    graph = OnnxGraph(load_converted(config, cache), config.side, config.side, (PROBABILITIES, EMBEDDING))
    return ClassifierDefinition(
        name, config.digest, config.labels, graph, config.preprocessing, config.folder
    )
