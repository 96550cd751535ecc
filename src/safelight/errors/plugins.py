"""Errors of plug-ins and registries."""

from __future__ import annotations

from safelight.errors.base import SafelightError


class PluginError(SafelightError):
    """A plug-in cannot be used."""

    code = "plugin"
    summary = "A plug-in cannot be used."


class PluginInvalidError(PluginError):
    """A plug-in's name is taken, or its functions do not fit the hooks."""

    code = "plugin.invalid"
    summary = "A plug-in cannot be registered."
    default_hint = "Its functions must have the names and parameters of those in safelight.plugins.hookspecs."


class DuplicateNameError(PluginError):
    """Two plug-ins register an item of the same name."""

    code = "plugin.duplicate"
    summary = "Two plug-ins register something under the same name."
    default_hint = "Rename one of the two, or remove the plug-in."
