"""Panels, the tabs of the page, and their registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safelight.errors import PluginInvalidError
from safelight.plugins import Registry

if TYPE_CHECKING:
    from safelight.ui.page import Translations

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class PageContext:
    """What panels are built from.

    Args:
        samplers: Names of samplers to choose from; the scripts offer those that work with the checkpoint.
        schedules: Names of schedules, likewise.
        translations: Translated texts.
    """

    samplers: Sequence[str]
    schedules: Sequence[str]
    translations: Translations


@dataclass(frozen=True)
class Panel:
    """A tab of the page.

    Args:
        name: Its name, of lower-case letters, digits and hyphens; the tab's element id is ``sl-tab-<name>``.
        order: Tabs are shown in ascending order. Built-in panels have 100, 200, 300, ...
        build: Adds the panel's Gradio components; called once, within the open tab. Gradio's queue is not served, so
            event listeners have ``fn=None`` and JavaScript, which calls the server's APIs.
        title: The tab's title, or the key of one in the page's texts.

    Raises:
        PluginInvalidError: The name has other characters, or there is no title.
    """

    name: str
    order: int
    build: Callable[[PageContext], None]
    title: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PluginInvalidError(f"A panel cannot have the name {self.name!r}.")
        if not self.title:
            raise PluginInvalidError(f"The panel {self.name!r} has no title.", hint="Give it one.")


PANELS = Registry[Panel](
    "panel", "register_panels", PluginInvalidError, ("safelight.ui.page",), name_field="name"
)
"""Every panel by name; ``page.build_page`` shows them in their order."""
