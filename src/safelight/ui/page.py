"""The page: its tabs and the form of the Create tab as Gradio components.

Gradio renders the form. Our scripts send its values to our own API; nothing passes through Gradio's queue. So a picture
is a job like any other: a reload, a second tab or a lost connection loses nothing. Every other built-in tab is an empty
element that a script in ``static`` fills.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from html import escape
from itertools import zip_longest
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from safelight.gallery.thumbnails import MAX_SIDE
from safelight.generation.fields import Group
from safelight.plugins import Registry, hookimpl
from safelight.ui.form_fields import FormControl, form_controls
from safelight.ui.panels import PANELS, PageContext, Panel
from safelight.ui.texts import LANGUAGES, load_texts

_log = logging.getLogger(__name__)

Field = gr.Textbox | gr.Slider | gr.Dropdown | gr.Checkbox
CONTAINER_CLASS = "sl-place"
"""CSS class of the elements that scripts fill."""

HEAD_HTML = """
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<script src="{static}/preferences.js?{version}"></script>
{styles}
<script type="application/json" id="sl-fields">{fields}</script>
<script type="module" src="{static}/main.js?{version}"></script>
"""
PROMPTS = ("prompt", "negative_prompt")
"""Fields that are placed one by one, not in rows."""
ROWS: Mapping[Group, Sequence[tuple[str, ...]]] = {
    "basic": (
        ("width", "height"),
        ("steps", "guidance_scale"),
        ("sampler", "checkpoint"),
        ("seed", "count"),
    ),
    "edit": (("strength",), ("inpaint.fill", "inpaint.padding"), ("inpaint.only_masked",)),
    "hires": (("hires.scale", "hires.strength"), ("hires.upscaler", "hires.steps")),
    "fine": (
        ("schedule", "clip_skip"),
        ("guidance_rescale", "guidance_method"),
        ("guidance_start", "guidance_end"),
        ("pag_scale", "eta"),
        ("variation.seed", "variation.strength"),
    ),
}
"""Fields of each row, by group; fields that are not listed follow in pairs at the end of their group."""
PLACEHOLDERS = {"seed": "create.seed.random", "eta": "create.default"}
STYLE_SHEETS = (
    "style",
    "gradio",
    "create",
    "stage",
    "editor",
    "gallery",
    "viewer",
    "moderate",
    "models",
    "system",
)


class Translations:
    """Translated texts by key; Gradio looks them up in the browser's language."""

    def __init__(self) -> None:
        self.i18n = gr.I18n(**{language: load_texts(language) for language in LANGUAGES})

    def __call__(self, key: str) -> I18nData:
        """A text by its key."""
        text: I18nData = self.i18n(key)
        return text

    def text(self, key: str) -> I18nData | str:
        """A text by its key; what is no key is its own text."""
        return self(key) if key in load_texts(LANGUAGES[0]) else key

    def field_texts(self, name: str) -> dict[str, Any]:
        """A field's label and its description, as arguments of a component."""
        return {"label": self(f"create.{name}"), "info": self(f"create.{name}.info")}

    def choice(self, name: str, value: str) -> tuple[I18nData | str, str]:
        """A choice's label and value; a value without a translated label is its own label."""
        key = f"create.{name}.{value}"
        return (self(key) if key in load_texts(LANGUAGES[0]) else value), value


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
    for number, name in enumerate(("gallery", "moderate", "models", "system"), 2):
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


def _build_create(context: PageContext) -> None:
    """The Create panel: the form, and the stage beside it."""
    with gr.Row(elem_id="sl-create"):
        with gr.Column(scale=2, min_width=320, elem_id="sl-form"):
            fields = _build_form(context.samplers, context.schedules, context.translations)
        with gr.Column(scale=3, min_width=320, elem_id="sl-stage-pane"):
            add_container("stage", thumbnail=MAX_SIDE)
    _connect_events(fields)


def _build_scripted(name: str, context: PageContext) -> None:  # noqa: ARG001  the script asks the API
    """A panel that a script in ``static`` fills."""
    add_container(name)


def _build_form(samplers: Sequence[str], schedules: Sequence[str], t: Translations) -> Mapping[str, Field]:
    """The form: the main fields, and the others in accordions. Fields have the names of our API."""
    fields: dict[str, Field] = {}
    controls = {each.name: each for each in form_controls() if each.control != "editor"}
    choices = {
        "sampler": ["", *samplers],
        "schedule": ["", *schedules],
        "checkpoint": [""],
        "hires.upscaler": ["latent", "lanczos"],
    }

    def field(name: str, **options: Any) -> None:
        fields[name] = _component(t, controls[name], choices.get(name), options)

    def rows(group: Group) -> None:
        """Add a group's fields: those in ``ROWS``, then all others."""
        placed = [*PROMPTS, *(name for row in ROWS[group] for name in row)]
        others = [name for name, each in controls.items() if each.group == group and name not in placed]
        for row in [*ROWS[group], *zip_longest(others[::2], others[1::2])]:
            names = [name for name in row if name]
            with gr.Row(elem_classes="sl-pair") if len(names) > 1 else nullcontext():
                for name in names:
                    field(name, **({"placeholder": t(PLACEHOLDERS[name])} if name in PLACEHOLDERS else {}))

    add_container("form-head")
    field("prompt", lines=3, max_lines=14, placeholder=t("create.prompt.example"))
    add_container("prompt-says")
    field("negative_prompt", max_lines=8)
    add_container("negative-says")
    add_container("chips")
    rows("basic")
    with gr.Accordion(t("create.edit"), open=False, elem_id="sl-fold-edit"):
        add_container("start-picture")
        rows("edit")
    with gr.Accordion(t("create.hires"), open=False, elem_id="sl-fold-hires"):
        fields["hires.on"] = gr.Checkbox(False, **_common_options(t, "hires.on"))
        rows("hires")
    with gr.Accordion(t("create.fine"), open=False, elem_id="sl-fold-fine"):
        rows("fine")
    add_container("draw")
    return fields


def _common_options(t: Translations, name: str) -> dict[str, Any]:
    """Arguments that the components of all fields have."""
    element_id = f"sl-{name.replace('_', '-').replace('.', '-')}"
    return {"elem_id": element_id, "interactive": True, **t.field_texts(name)}


def _component(
    t: Translations, control: FormControl, choices: Sequence[str] | None, options: Mapping[str, Any]
) -> Field:
    """The component of a control."""
    arguments: dict[str, Any] = _common_options(t, control.name) | {"value": control.initial, **options}
    if control.control == "slider":
        slider: dict[str, Any] = {
            "minimum": control.minimum,
            "maximum": control.maximum,
            "step": control.step,
        }
        return gr.Slider(buttons=[], **arguments, **slider)
    if control.control == "choice":
        name = control.name.rpartition(".")[2]
        labelled: list[Any] = [t.choice(name, value) for value in control.choices]
        return gr.Dropdown(choices or labelled, **arguments)
    if control.control == "checkbox":
        return gr.Checkbox(**arguments)
    return gr.Textbox(**{"lines": 1, "max_lines": 1, **arguments})


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
