"""The list of hooks: each is called by a registry, and has one sentence of explanation."""

from __future__ import annotations

import inspect
import re
from pkgutil import resolve_name
from typing import Any

import pytest

from safelight.cli.commands import COMMANDS
from safelight.generation.control.preprocessors import PREPROCESSORS
from safelight.generation.modifiers.registry import MODIFIERS
from safelight.generation.solvers.registry import SAMPLERS
from safelight.generation.upscaling import UPSCALERS
from safelight.jobs.task import TASKS
from safelight.models.families import FAMILIES
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.plugins import PLUGINS, Registry, hookimpl, hookspecs
from safelight.runtime.backends import BACKENDS
from safelight.runtime.devices import DEVICES
from safelight.search import VECTOR_STORES
from safelight.server.core.api_families import API_FAMILIES
from safelight.ui.panels import PANELS

REGISTRIES: dict[str, Registry[Any]] = {
    "register_samplers": SAMPLERS,
    "register_modifiers": MODIFIERS,
    "register_families": FAMILIES,
    "register_backends": BACKENDS,
    "register_devices": DEVICES,
    "register_upscalers": UPSCALERS,
    "register_preprocessors": PREPROCESSORS,
    "register_classifiers": CLASSIFIERS,
    "register_commands": COMMANDS,
    "register_api_families": API_FAMILIES,
    "register_tasks": TASKS,
    "register_panels": PANELS,
    "register_vector_stores": VECTOR_STORES,
}


def test_every_hook_has_a_registry() -> None:
    hooks = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction)}
    assert hooks == set(REGISTRIES)


@pytest.mark.parametrize("hook", REGISTRIES)
def test_a_plugin_that_implements_a_hook_is_called_with_its_registry(hook: str) -> None:
    called: list[object] = []

    class Listening:
        """Implements the hook, whichever it is."""

    def implementation(registry: Registry[Any]) -> None:
        called.append(registry)

    setattr(Listening, hook, staticmethod(hookimpl(implementation)))
    with PLUGINS.registered(Listening(), "listening"):
        assert len(REGISTRIES[hook])
    assert called == [REGISTRIES[hook]]


@pytest.mark.parametrize("hook", REGISTRIES)
def test_every_hook_names_the_class_of_its_items(hook: str) -> None:
    (name,) = re.findall(r"``(\w[\w.]*)``", getattr(hookspecs, hook).__doc__)
    module, _, item = name.rpartition(".")
    assert inspect.isclass(resolve_name(f"safelight.{module}:{item}"))


@pytest.mark.parametrize("hook", REGISTRIES)
def test_every_hook_is_explained_in_a_line(hook: str) -> None:
    explanation = getattr(hookspecs, hook).__doc__
    assert explanation.startswith("Register ")
    assert "\n" not in explanation
