"""Every hook that a plug-in can implement; each gets a registry and registers items with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from safelight.plugins.registry import Registry

PROJECT = "safelight"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def register_samplers(registry: Registry[Any]) -> None:
    """Register samplers: ``generation.solvers.registry.Sampler``."""


@hookspec
def register_modifiers(registry: Registry[Any]) -> None:
    """Register what changes the passes of a run: ``generation.modifiers.registry.ModifierFactory``."""


@hookspec
def register_families(registry: Registry[Any]) -> None:
    """Register families of checkpoints and their variants: ``models.families.Family``."""


@hookspec
def register_backends(registry: Registry[Any]) -> None:
    """Register engines that run networks: ``runtime.backends.Backend``."""


@hookspec
def register_devices(registry: Registry[Any]) -> None:
    """Register kinds of devices that torch computes on: ``runtime.devices.DeviceKind``."""


@hookspec
def register_upscalers(registry: Registry[Any]) -> None:
    """Register upscalers that need no file of weights: ``generation.upscaling.Upscaler``."""


@hookspec
def register_preprocessors(registry: Registry[Any]) -> None:
    """Register preprocessors: ``generation.control.preprocessors.Preprocessor``."""


@hookspec
def register_classifiers(registry: Registry[Any]) -> None:
    """Register classifiers with weights in a package: ``moderation.classifiers.definition.PackagedClassifier``."""


@hookspec
def register_commands(registry: Registry[Any]) -> None:
    """Register commands of the command line: ``cli.commands.Command``."""


@hookspec
def register_api_families(registry: Registry[Any]) -> None:
    """Register APIs of the server: ``server.core.api_families.ApiFamily``."""


@hookspec
def register_tasks(registry: Registry[Any]) -> None:
    """Register job kinds: ``jobs.task.Task``."""


@hookspec
def register_panels(registry: Registry[Any]) -> None:
    """Register panels of the page in the browser: ``ui.panels.Panel``."""


@hookspec
def register_vector_stores(registry: Registry[Any]) -> None:
    """Register vector stores: ``search.store.VectorStoreType``."""
