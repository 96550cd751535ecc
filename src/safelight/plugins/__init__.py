"""Registries, and the hooks through which built-ins and plug-ins fill them.

``hookspecs`` has every hook, ``registry`` the ordered table of named items, ``manager`` the plug-ins that are
registered in this process.
"""

from safelight.plugins.manager import PLUGINS, hookimpl
from safelight.plugins.registry import Registry

__all__ = ["PLUGINS", "Registry", "hookimpl"]
