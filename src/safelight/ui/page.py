"""The page: its tabs and the form of the Create tab as Gradio components.

Gradio renders the form. Our scripts send its values to our own API; nothing passes through Gradio's queue. So a picture
is a job like any other: a reload, a second tab or a lost connection loses nothing. Every other built-in tab is an empty
element that a script in ``static`` fills.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from safelight.gallery.thumbnails import MAX_SIDE
from safelight.plugins import Registry, hookimpl
from safelight.ui.panels import PANELS, PageContext, Panel
from safelight.ui.texts import LANGUAGES, load_texts

Field = gr.Textbox | gr.Slider | gr.Dropdown | gr.Checkbox
CONTAINER_CLASS = "sl-place"
"""CSS class of the elements that scripts fill."""

HEAD_HTML = """
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<script src="{static}/preferences.js?{version}"></script>
{styles}
<script type="module" src="{static}/main.js?{version}"></script>
"""
STYLE_SHEETS = ("style", "gradio", "create", "editor", "gallery", "viewer", "moderate", "models", "system")


class Translations:
    """Translated texts by key; Gradio looks them up in the browser's language."""

    def __init__(self) -> None:
        self.i18n = gr.I18n(**{language: load_texts(language) for language in LANGUAGES})

    def __call__(self, key: str) -> I18nData:
        """A text by its key."""
        text: I18nData = self.i18n(key)
        return text

    def field_texts(self, name: str) -> dict[str, Any]:
        """A field's label and its description, as arguments of a component."""
        return {"label": self(f"create.{name}"), "info": self(f"create.{name}.info")}


def build_page(context: PageContext) -> gr.Blocks:
    """Build the page: a header, and a tab for each panel."""
    page: gr.Blocks
    t = context.translations
    with gr.Blocks(title="Safelight", analytics_enabled=False, fill_width=True) as page:
        add_container("header")
        with gr.Tabs(elem_id="sl-tabs", selected="create"):
            for panel in sorted(PANELS.values(), key=lambda each: each.order):
                title = panel.title or t(f"tab.{panel.name}")
                with gr.Tab(title, id=panel.name, elem_id=f"sl-tab-{panel.name}"):
                    panel.build(context)
    return page


@hookimpl
def register_panels(registry: Registry[Panel]) -> None:
    """Register the built-in panels."""
    registry.register("create", Panel("create", 100, _build_create))
    for number, name in enumerate(("gallery", "moderate", "models", "system"), 2):
        build = partial(_build_scripted, name)
        registry.register(name, Panel(name, 100 * number, build))


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


def _build_create(context: PageContext) -> None:
    """The Create panel: the form, and the jobs beside it."""
    with gr.Row(elem_id="sl-create"):
        with gr.Column(scale=2, min_width=320, elem_id="sl-form"):
            fields = _build_form(context.samplers, context.schedules, context.translations)
        with gr.Column(scale=3, min_width=320, elem_id="sl-stage"):
            add_container("jobs", thumbnail=MAX_SIDE)
    _connect_events(fields)


def _build_scripted(name: str, context: PageContext) -> None:  # noqa: ARG001  the script asks the API
    """A panel that a script in ``static`` fills."""
    add_container(name)


def _build_form(samplers: Sequence[str], schedules: Sequence[str], t: Translations) -> Mapping[str, Field]:
    """The form: the main fields, and the others in accordions. Fields have the names of our API."""
    fields: dict[str, Field] = {}

    def field(name: str, kind: type[Field], *args: Any, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "elem_id": f"sl-{name.replace('_', '-').replace('.', '-')}",
            "interactive": True,
        }
        if kind is gr.Slider:
            defaults["buttons"] = []
        fields[name] = kind(*args, **(defaults | t.field_texts(name) | options))

    add_container("form-head")
    field("prompt", gr.Textbox, lines=3, max_lines=14, placeholder=t("create.prompt.example"))
    add_container("prompt-says")
    field("negative_prompt", gr.Textbox, lines=1, max_lines=8)
    add_container("negative-says")
    add_container("chips")
    with gr.Row(elem_classes="sl-pair"):
        field("width", gr.Slider, 64, 2048, 128, step=8)
        field("height", gr.Slider, 64, 2048, 128, step=8)
    with gr.Row(elem_classes="sl-pair"):
        field("steps", gr.Slider, 1, 150, 20, step=1)
        field("guidance_scale", gr.Slider, 1, 30, 4, step=0.5)
    with gr.Row(elem_classes="sl-pair"):
        field("sampler", gr.Dropdown, ["", *samplers], value="")
        field("checkpoint", gr.Dropdown, [""], value="")
    with gr.Row(elem_classes="sl-pair"):
        field("seed", gr.Textbox, lines=1, max_lines=1, placeholder=t("create.seed.random"))
        field("count", gr.Slider, 1, 16, 1, step=1)
    with gr.Accordion(t("create.edit"), open=False, elem_id="sl-fold-edit"):
        add_container("editor")
        field("strength", gr.Slider, 0, 1, 0.6, step=0.05)
        with gr.Row(elem_classes="sl-pair"):
            field(
                "inpaint.fill",
                gr.Dropdown,
                _choices(t, "fill", ("original", "blur", "noise")),
                value="original",
            )
            field("inpaint.padding", gr.Slider, 0, 256, 32, step=4)
        field("inpaint.only_masked", gr.Checkbox, False)
    with gr.Accordion(t("create.hires"), open=False, elem_id="sl-fold-hires"):
        field("hires.on", gr.Checkbox, False)
        with gr.Row(elem_classes="sl-pair"):
            field("hires.scale", gr.Slider, 1.25, 4, 2, step=0.25)
            field("hires.strength", gr.Slider, 0, 1, 0.6, step=0.05)
        with gr.Row(elem_classes="sl-pair"):
            field("hires.upscaler", gr.Dropdown, ["latent", "lanczos"], value="latent")
            field("hires.steps", gr.Slider, 0, 100, 0, step=1)
    with gr.Accordion(t("create.fine"), open=False, elem_id="sl-fold-fine"):
        with gr.Row(elem_classes="sl-pair"):
            field("schedule", gr.Dropdown, ["", *schedules], value="")
            field("clip_skip", gr.Slider, 1, 12, 1, step=1)
        with gr.Row(elem_classes="sl-pair"):
            field("guidance_rescale", gr.Slider, 0, 1, 0, step=0.05)
            field("guidance_method", gr.Dropdown, ["cfg", "cfg-zero"], value="cfg")
        with gr.Row(elem_classes="sl-pair"):
            field("guidance_start", gr.Slider, 0, 1, 0, step=0.05)
            field("guidance_end", gr.Slider, 0, 1, 1, step=0.05)
        with gr.Row(elem_classes="sl-pair"):
            field("pag_scale", gr.Slider, 0, 10, 0, step=0.5)
            field("eta", gr.Textbox, lines=1, max_lines=1, placeholder=t("create.default"))
        with gr.Row(elem_classes="sl-pair"):
            field("variation.seed", gr.Textbox, lines=1, max_lines=1)
            field("variation.strength", gr.Slider, 0, 1, 0, step=0.05)
    limits = {
        name: (field.minimum, field.maximum) for name, field in fields.items() if isinstance(field, gr.Slider)
    }
    add_container("draw", limits=limits)
    return fields


def _choices(t: Translations, name: str, values: Sequence[str]) -> list[tuple[I18nData, str]]:
    return [(t(f"create.{name}.{value}"), value) for value in values]


def _connect_events(fields: Mapping[str, Field]) -> None:
    """Call the scripts when the user changes a field, and let them set fields; both run in the browser."""
    for name, component in fields.items():
        if isinstance(component, gr.Textbox):
            continue  # Gradio's event misses text that is not typed; the scripts listen to the DOM event
        component.input(
            fn=None,
            inputs=[component],
            js=f"(value) => {{ window.safelight?.form.setByUser({name!r}, value); }}",
            show_progress="hidden",
        )
    gr.Button("", elem_id="sl-fill", visible="hidden").click(
        fn=None,
        outputs=list(fields.values()),
        js=f"() => window.safelight.form.takeUpdates({list(fields)})",
        show_progress="hidden",
    )
