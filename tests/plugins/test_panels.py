"""A panel of a plug-in is a tab of the page, in its place between the built-in ones."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from tests.asgi_requests import run_in_thread

from safelight.errors import DuplicateNameError, PluginInvalidError
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.ui.page import Translations, build_page
from safelight.ui.panels import PANELS, PageContext, Panel

BUILT_IN = ["create", "gallery", "moderate", "models", "system", "settings"]


def build_toy(context: PageContext) -> None:
    gr.Dropdown([*context.samplers], label="A sampler to play with", elem_id="toy-sampler")
    gr.Button("Play", elem_id="toy-play").click(fn=None, js="() => fetch('/v1/samplers')")


class Toy:
    """A plug-in with one panel, after the gallery."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name

    @hookimpl
    def register_panels(self, registry: Registry[Panel]) -> None:
        registry.register(self.name, Panel(self.name, 250, build_toy, title="Toys"))


def page_config() -> dict[str, Any]:
    """The page as Gradio sends it to a browser."""

    async def build() -> dict[str, Any]:  # as in the server: without a running loop, Gradio leaves one open
        return dict(build_page(PageContext(["Euler"], ["karras"], Translations())).get_config_file())

    config: dict[str, Any] = run_in_thread(build())
    return config


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    with PLUGINS.registered(Toy(), "toy"):
        return page_config()


def tabs_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [each["props"] for each in config["components"] if each["type"] == "tabitem"]


def ids_within(tree: dict[str, Any]) -> set[int]:
    """The ids of all components within one of the layout."""
    return {number for child in tree.get("children", ()) for number in {child["id"], *ids_within(child)}}


def find_in_layout(tree: dict[str, Any], number: int) -> dict[str, Any] | None:
    """The part of the layout whose component has an id."""
    if tree.get("id") == number:
        return tree
    found = (find_in_layout(child, number) for child in tree.get("children", ()))
    return next(filter(None, found), None)


def test_it_is_a_tab_in_its_place(config: dict[str, Any]) -> None:
    tabs = tabs_of(config)
    assert [tab["id"] for tab in tabs] == [
        "create",
        "gallery",
        "toy",
        "moderate",
        "models",
        "system",
        "settings",
    ]
    assert (tabs[2]["label"], tabs[2]["elem_id"]) == ("Toys", "sl-tab-toy")


def test_its_components_are_in_its_tab(config: dict[str, Any]) -> None:
    by_id = {each["props"].get("elem_id"): each for each in config["components"]}
    tab = find_in_layout(config["layout"], by_id["sl-tab-toy"]["id"])
    assert tab is not None
    assert {by_id["toy-sampler"]["id"], by_id["toy-play"]["id"]} <= ids_within(tab)
    assert by_id["toy-sampler"]["props"]["choices"] == [("Euler", "Euler")]
    clicks = [
        each for each in config["dependencies"] if (by_id["toy-play"]["id"], "click") in each["targets"]
    ]
    assert [click["js"] for click in clicks] == ["() => fetch('/v1/samplers')"]


def test_without_it_the_page_has_the_built_in_tabs() -> None:
    assert list(PANELS) == BUILT_IN
    assert [tab["id"] for tab in tabs_of(page_config())] == BUILT_IN


class Broken:
    """A plug-in whose panel fails after its first component."""

    @hookimpl
    def register_panels(self, registry: Registry[Panel]) -> None:
        def build(_: PageContext) -> None:
            with gr.Row():
                gr.Button("Play", elem_id="broken-play")
                raise OSError("no toys today")

        registry.register("broken", Panel("broken", 250, build, "Broken"))


def test_a_panel_that_fails_takes_only_its_own_tab(caplog: pytest.LogCaptureFixture) -> None:
    with PLUGINS.registered(Broken(), "broken-toys"):
        config = page_config()
    assert [tab["id"] for tab in tabs_of(config)] == [*BUILT_IN[:2], "broken", *BUILT_IN[2:]]
    tab = next(each for each in config["components"] if each["props"].get("elem_id") == "sl-tab-broken")
    within = ids_within(find_in_layout(config["layout"], tab["id"]) or {})
    texts = [each["props"].get("value") for each in config["components"] if each["id"] in within]
    assert "error.panel" in str(texts)
    (entry,) = [each for each in caplog.records if each.name == "safelight.ui.page"]
    assert entry.getMessage() == "The plug-in broken-toys cannot build the panel broken."
    assert "no toys today" in caplog.text


def test_a_built_in_panel_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, **_: object) -> None:
        if name == "gallery":
            raise OSError(name)

    monkeypatch.setattr("safelight.ui.page.add_container", fail)
    with pytest.raises(OSError, match="gallery"):
        page_config()


@pytest.mark.parametrize("title", ["", None])
def test_a_panel_has_a_title(title: Any) -> None:
    with pytest.raises(PluginInvalidError, match="'toy' has no title"):
        Panel("toy", 250, build_toy, title)


def test_a_name_that_is_no_element_id_is_refused() -> None:
    with PLUGINS.registered(Toy("my toys"), "toy"), pytest.raises(PluginInvalidError, match="'my toys'"):
        len(PANELS)


def test_a_built_in_name_is_taken() -> None:
    with (
        PLUGINS.registered(Toy("gallery"), "toy"),
        pytest.raises(DuplicateNameError, match="'gallery' of toy"),
    ):
        len(PANELS)
