"""An ordered table of named items, which is filled by a hook when it is used for the first time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Generic, TypeVar, overload

from safelight.errors import DuplicateNameError, PluginInvalidError, SafelightError
from safelight.plugins.manager import PLUGINS, PluginManager

T = TypeVar("T")
D = TypeVar("D")


@dataclass
class _Table(Generic[T]):
    """The items of a registry, and which plug-in registered each.

    Args:
        version: That of the plug-ins.
        source: The plug-in whose items are being registered.
    """

    version: int
    source: str = ""
    items: dict[str, T] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


class Registry(Mapping[str, T]):
    """A read-only mapping of names to items of one kind: the built-in ones first, then those of plug-ins. Thread-safe.

    Nothing is imported until an item is asked for. When plug-ins are registered or unregistered, the registry is filled
    again.

    Args:
        kind: What an item is, for messages; "sampler" for example.
        hook: The function in ``hookspecs`` that fills the registry.
        unknown: The class of error for a name that is not registered.
        built_in: The modules that register the built-in items, in the order in which these are listed.
        plugins: The plug-ins that register more.
        name_field: The attribute of an item that has its name, if it has one; no other name is accepted.
    """

    def __init__(
        self,
        kind: str,
        hook: str,
        unknown: type[SafelightError],
        built_in: tuple[str, ...],
        plugins: PluginManager = PLUGINS,
        *,
        name_field: str | None = None,
    ) -> None:
        self._kind, self._hook, self._unknown = kind, hook, unknown
        self._built_in, self._plugins, self._name_field = built_in, plugins, name_field
        self._table: _Table[T] | None = None
        self._draft: _Table[T] | None = None  # while the hook is called
        self._lock = RLock()

    def register(self, name: str, item: T) -> None:
        """Add an item; for implementations of the hook.

        Raises:
            DuplicateNameError: The name is taken.
            PluginInvalidError: The item has another name, or this is called by anything else than an implementation
                of the hook.
        """
        draft = self._draft
        if draft is None:
            raise PluginInvalidError(f"The {self._kind} {name!r} must be registered by {self._hook}.")
        if name in draft.items:
            raise DuplicateNameError(
                f"The {self._kind} {name!r} of {draft.source} is registered already, by {draft.sources[name]}."
            )
        own = name if self._name_field is None else getattr(item, self._name_field)
        if own != name:
            raise PluginInvalidError(
                f"{draft.source} registers the {self._kind} {own!r} under another name, {name!r}.",
                hint=f"Register it as {own!r}.",
            )
        draft.items[name], draft.sources[name] = item, draft.source

    def __getitem__(self, name: str) -> T:
        """Return the item of a name.

        Raises:
            SafelightError: There is none; of the class that was given as ``unknown``.
            DuplicateNameError: Two plug-ins register the same name.
        """
        items = self._current().items
        if name in items:
            return items[name]
        raise self._unknown(f"There is no {self._kind} {name!r}.", hint=self._hint(name))

    @overload
    def get(self, name: str, /) -> T | None: ...
    @overload
    def get(self, name: str, /, default: D) -> T | D: ...
    def get(self, name: str, /, default: object = None) -> object:
        """Return the item of a name, or the default if there is none."""
        return self._current().items.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._current().items

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._current().items))

    def __len__(self) -> int:
        return len(self._current().items)

    def source(self, name: str) -> str:
        """Return the name of the plug-in or built-in module that registered an item."""
        return self._current().sources[name]

    def is_built_in(self, name: str) -> bool:
        """Return whether an item is from a built-in module and not from a plug-in."""
        return self.source(name) in self._built_in

    def _current(self) -> _Table[T]:
        """Return the table, filled; within an implementation of the hook, what has been registered so far."""
        table = self._table
        if table is not None and table.version == self._plugins.version:
            return table
        with self._lock:
            if self._draft is not None:
                return self._draft
            if self._table is None or self._table.version != self._plugins.version:
                self._table = self._filled()
            return self._table

    def _filled(self) -> _Table[T]:
        self._draft = draft = _Table[T](self._plugins.version)
        try:
            for implementation in self._plugins.implementations(self._hook, self._built_in):
                draft.source = implementation.plugin_name
                implementation.function(self)
        finally:
            self._draft = None
        return draft

    def _hint(self, name: str) -> str:
        names = {each.casefold(): each for each in self}
        near = difflib.get_close_matches(name.casefold(), names, n=3)
        start = f"Did you mean {' or '.join(names[each] for each in near)}? " if near else ""
        return f"{start}There are {', '.join(names.values())}."
