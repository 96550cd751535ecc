"""The page: its tabs as Gradio components.

Every built-in tab has empty elements that scripts in ``static`` fill; plug-ins build theirs from Gradio's components.
The scripts call our own API, and nothing passes through Gradio's queue. So a picture is a job like any other: a reload,
a second tab or a lost connection loses nothing.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from html import escape

import gradio as gr
from gradio.i18n import I18nData

from safelight.gallery.thumbnails import MAX_SIDE
from safelight.plugins import Registry, hookimpl
from safelight.ui.panels import PANELS, PageContext, Panel
from safelight.ui.texts import LANGUAGES, load_texts

_log = logging.getLogger(__name__)

CONTAINER_CLASS = "sl-place"
"""CSS class of the elements that scripts fill."""

HEAD_HTML = """
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<script src="{static}/preferences.js?{version}"></script>
{styles}
<script type="module" src="{static}/main.js?{version}"></script>
{modules}
<script type="application/json" id="sl-fields">{fields}</script>
<script type="application/json" id="sl-unit-fields">{unit_fields}</script>
<script type="application/json" id="sl-region-fields">{region_fields}</script>
"""
STYLE_SHEETS = (
    "style",
    "gradio",
    "create",
    "skeleton",
    "form",
    "control",
    "references",
    "regions",
    "stage",
    "networks",
    "queue",
    "editor",
    "gallery",
    "viewer",
    "moderate",
    "models",
    "system",
    "settings",
)


class Translations:
    """Translated texts by key; Gradio looks them up in the browser's language.

    The page contains those that its components use, as the scripts load the texts of one language themselves.
    """

    def __init__(self) -> None:
        self._texts = {language: load_texts(language) for language in LANGUAGES}
        self._used: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
        self.i18n = gr.I18n(**self._used)

    def __call__(self, key: str) -> I18nData:
        """A text by its key."""
        for language, texts in self._texts.items():
            self._used[language][key] = texts[key]
        text: I18nData = self.i18n(key)
        return text

    def text(self, key: str) -> I18nData | str:
        """A text by its key; what is no key is its own text."""
        return self(key) if key in self._texts[LANGUAGES[0]] else key

    def in_languages(self, key: str) -> dict[str, str]:
        """A text by its key, by language; what is no key is its own text in all of them."""
        return {language: texts.get(key, key) for language, texts in self._texts.items()}


def build_page(context: PageContext) -> gr.Blocks:
    """Build the page: a header, and a tab for each panel."""
    page: gr.Blocks
    t = context.translations
    with gr.Blocks(title="Safelight", analytics_enabled=False, fill_width=True) as page:
        add_container("header")
        with gr.Tabs(elem_id="sl-tabs", selected="create"):
            for panel in sorted(PANELS.values(), key=lambda each: each.order):
                with gr.Tab(t.text(panel.title), id=panel.name, elem_id=f"sl-tab-{panel.name}"):
                    _build_panel(panel, context)
    return page


def _build_panel(panel: Panel, context: PageContext) -> None:
    """Build a panel in the open tab; of a plug-in's that fails, the tab says so, and the page works without it."""
    try:
        panel.build(context)
    except Exception:
        if PANELS.is_built_in(panel.name):
            raise
        _log.exception("The plug-in %s cannot build the panel %s.", PANELS.source(panel.name), panel.name)
        gr.Markdown(context.translations("error.panel"))


@hookimpl
def register_panels(registry: Registry[Panel]) -> None:
    """Register the built-in panels."""
    registry.register("create", Panel("create", 100, _build_create, "tab.create"))
    for number, name in enumerate(("gallery", "moderate", "models", "system", "settings"), 2):
        build = partial(_build_scripted, name)
        registry.register(name, Panel(name, 100 * number, build, f"tab.{name}"))


def add_container(name: str, **data: object) -> None:
    """Add an empty element that a script fills.

    Args:
        name: Its id, without the prefix ``sl-``.
        data: Values of its ``data-`` attributes, encoded as JSON.
    """
    attributes = "".join(f" data-{key}='{escape(json.dumps(value))}'" for key, value in data.items())
    gr.HTML(
        f'<div id="sl-{name}" class="{CONTAINER_CLASS}"{attributes}></div>',
        elem_classes="sl-html",
        apply_default_css=False,
    )


def _build_create(context: PageContext) -> None:  # noqa: ARG001  the script asks the API
    """The Create panel: the places of the form and of the stage beside it."""
    with gr.Row(elem_id="sl-create"):
        with gr.Column(scale=2, min_width=320, elem_id="sl-form"):
            add_container("form-fields")
        with gr.Column(scale=3, min_width=320, elem_id="sl-stage-pane"):
            add_container("stage", thumbnail=MAX_SIDE)


def _build_scripted(name: str, context: PageContext) -> None:  # noqa: ARG001  the script asks the API
    """A panel that a script in ``static`` fills."""
    add_container(name)
