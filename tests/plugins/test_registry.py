"""Registries: order, names, errors, and filling again when plug-ins come and go."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from safelight.errors import DuplicateNameError, PluginInvalidError, SamplerUnknownError
from safelight.jobs.task import TASKS
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.plugins.manager import PluginManager
from safelight.runtime.backends import BACKENDS
from safelight.search import VECTOR_STORES
from safelight.ui.panels import PANELS, Panel


def plugin(**items: object) -> object:
    """A plug-in that registers items as samplers."""

    @hookimpl
    def register_samplers(registry: Registry[Any]) -> None:
        for name, item in items.items():
            registry.register(name, item)

    return SimpleNamespace(register_samplers=register_samplers)


def module(name: str, monkeypatch: pytest.MonkeyPatch, **items: object) -> str:
    """A built-in module that registers items as samplers."""
    made = ModuleType(name)
    vars(made).update(vars(plugin(**items)))
    monkeypatch.setitem(sys.modules, name, made)
    return name


@pytest.fixture
def plugins() -> PluginManager:
    return PluginManager()


@pytest.fixture
def registry(plugins: PluginManager, monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    built_in = (module("first", monkeypatch, euler=1, heun=2), module("second", monkeypatch, ddim=3))
    return Registry("sampler", "register_samplers", SamplerUnknownError, built_in, plugins)


def test_items_keep_the_order_of_the_built_in_modules(registry: Registry[Any]) -> None:
    assert tuple(registry) == ("euler", "heun", "ddim")
    assert list(registry.values()) == [1, 2, 3]
    assert len(registry) == 3
    assert "heun" in registry
    assert "dpm" not in registry
    assert registry["ddim"] == 3
    assert registry.get("dpm") is None
    assert registry.get("dpm", 5) == 5
    assert registry.source("ddim") == "second"


def test_a_plugin_s_items_come_last_and_go_with_it(registry: Registry[Any], plugins: PluginManager) -> None:
    plugins.register(plugin(toy=4), "mine")
    assert tuple(registry) == ("euler", "heun", "ddim", "toy")
    assert registry.source("toy") == "mine"
    with plugins.registered(plugin(other=5), "yours"):
        assert list(registry.values()) == [1, 2, 3, 4, 5]
    plugins.unregister("mine")
    assert tuple(registry) == ("euler", "heun", "ddim")


def test_nothing_is_imported_before_the_first_use(plugins: PluginManager) -> None:
    registry = Registry[Any](
        "sampler", "register_samplers", SamplerUnknownError, ("no.such.module",), plugins
    )
    with pytest.raises(ModuleNotFoundError):
        tuple(registry)


def test_an_unknown_name_raises_the_kind_s_error_with_near_names(registry: Registry[Any]) -> None:
    with pytest.raises(SamplerUnknownError) as caught:
        registry["Eular"]
    assert caught.value.message == "There is no sampler 'Eular'."
    assert caught.value.hint == "Did you mean euler? There are euler, heun, ddim."


def test_a_name_is_registered_once(registry: Registry[Any], plugins: PluginManager) -> None:
    with plugins.registered(plugin(euler=9), "mine"):
        for _ in range(2):  # a table that was left half filled would pass the second time
            with pytest.raises(DuplicateNameError) as caught:
                registry["ddim"]
            assert caught.value.message == "The sampler 'euler' of mine is registered already, by first."
    assert registry["euler"] == 1


def test_only_the_hook_registers(registry: Registry[Any]) -> None:
    tuple(registry)
    with pytest.raises(PluginInvalidError, match="must be registered by register_samplers"):
        registry.register("toy", 4)


def test_an_implementation_sees_what_was_registered_before(
    registry: Registry[Any], plugins: PluginManager
) -> None:
    class Derived:
        @hookimpl
        def register_samplers(self, registry: Registry[Any]) -> None:
            registry.register("twice heun", 2 * registry["heun"])

    with plugins.registered(Derived(), "mine"):
        assert registry["twice heun"] == 4


def test_an_item_is_registered_under_its_own_name_only(plugins: PluginManager) -> None:
    registry = Registry[Any](
        "sampler", "register_samplers", SamplerUnknownError, (), plugins, name_field="kind"
    )
    plugins.register(plugin(toy=SimpleNamespace(kind="toy")), "good")
    assert list(registry) == ["toy"]
    with (
        plugins.registered(plugin(euler=SimpleNamespace(kind="heun")), "mine"),
        pytest.raises(
            PluginInvalidError, match="mine registers the sampler 'heun' under another name, 'euler'"
        ),
    ):
        len(registry)


@pytest.mark.parametrize(
    ("registry", "item"),
    [
        (PANELS, Panel("one", 250, lambda _: None, "One")),
        (TASKS, replace(TASKS["generate"], kind="one")),
        (VECTOR_STORES, replace(VECTOR_STORES["exact"], name="one")),
        (BACKENDS, replace(BACKENDS["eager"], name="one")),
    ],
    ids=["panel", "task", "vector store", "backend"],
)
def test_items_with_names_cannot_have_another_key(registry: Registry[Any], item: object) -> None:
    @hookimpl(specname=registry._hook)
    def register(registry: Registry[Any]) -> None:
        registry.register("two", item)

    with (
        PLUGINS.registered(SimpleNamespace(register=register), "mine"),
        pytest.raises(PluginInvalidError, match="'one' under another name, 'two'"),
    ):
        len(registry)


def test_a_registry_knows_which_items_are_built_in(registry: Registry[Any], plugins: PluginManager) -> None:
    plugins.register(plugin(toy=4), "mine")
    assert (registry.is_built_in("ddim"), registry.is_built_in("toy")) == (True, False)
