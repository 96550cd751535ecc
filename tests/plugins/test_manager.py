"""Registering plug-ins: names, and functions that fit their hooks."""

from __future__ import annotations

from typing import Any

import pytest

from safelight.errors import PluginInvalidError
from safelight.plugins import hookimpl
from safelight.plugins.manager import PluginManager


class Empty:
    """A plug-in without hooks."""


class Misfit:
    """A plug-in whose hook has a parameter of another name."""

    @hookimpl
    def register_samplers(self, table: Any) -> None: ...


def test_a_plugin_s_name_is_its_own() -> None:
    plugins = PluginManager()
    plugins.register(Empty(), "mine")
    with pytest.raises(PluginInvalidError, match="The plug-in mine cannot be registered"):
        plugins.register(Empty(), "mine")


def test_a_function_has_to_fit_its_hook() -> None:
    with pytest.raises(PluginInvalidError, match="table"):
        PluginManager().register(Misfit(), "mine")


def test_a_plugin_that_was_refused_changes_nothing() -> None:
    plugins = PluginManager()
    before = plugins.version
    with pytest.raises(PluginInvalidError):
        plugins.register(Misfit(), "mine")
    assert plugins.version == before
    plugins.register(Empty(), "mine")
