"""The plug-ins of this process: the built-in modules, and objects that were registered by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module

import pluggy
from pluggy import HookImpl

from safelight.errors import PluginInvalidError
from safelight.plugins import hookspecs

hookimpl = pluggy.HookimplMarker(hookspecs.PROJECT)
"""Marks a function as the implementation of the hook of the same name."""


class PluginManager:
    """Plug-ins by name. Entry points of other packages are not read.

    Attributes:
        version: Changes with the set of plug-ins; a registry that was filled before is filled again.
    """

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self.version = 0

    @contextmanager
    def registered(self, plugin: object, name: str) -> Iterator[None]:
        """Register a plug-in for the duration of a ``with`` block.

        Args:
            plugin: A module or an object whose functions are marked with ``hookimpl``.
            name: Its name, which registries keep as the source of its items.
        """
        self.register(plugin, name)
        try:
            yield
        finally:
            self.unregister(name)

    def register(self, plugin: object, name: str) -> None:
        """Register a plug-in; its hooks are called when a registry is used next.

        Args:
            plugin: A module or an object whose functions are marked with ``hookimpl``.
            name: Its name, which registries keep as the source of its items.

        Raises:
            PluginInvalidError: A plug-in of that name is registered, or a function does not fit its hook.
        """
        self._add(plugin, name)
        self.version += 1

    def unregister(self, name: str) -> None:
        """Remove a plug-in; registries no longer have its items."""
        self._pluggy.unregister(name=name)
        self.version += 1

    def implementations(self, hook: str, built_in: Iterable[str]) -> list[HookImpl]:
        """The implementations of a hook: those of the built-in modules in the given order, then plug-ins'.

        Args:
            hook: A function's name in ``hookspecs``.
            built_in: Modules that implement it; they are imported.
        """
        order = {name: number for number, name in enumerate(built_in)}
        for name in order:
            import_module(name)  # may itself use a registry, and so register the module
            if not self._pluggy.has_plugin(name):
                self._add(sys.modules[name], name)
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        return sorted(found, key=lambda each: order.get(each.plugin_name, len(order)))

    def _add(self, plugin: object, name: str) -> None:
        try:
            self._pluggy.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginInvalidError(f"The plug-in {name} cannot be registered: {error}") from error


PLUGINS = PluginManager()
"""The plug-ins of this process."""
