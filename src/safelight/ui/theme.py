"""The Gradio theme. Its variables refer to the tokens of ``static/style.css``, so that colours have one source."""

from __future__ import annotations

import gradio as gr

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "Cascadia Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
TOKENS = {
    "body_background_fill": "ground",
    "body_text_color": "text",
    "body_text_color_subdued": "muted",
    "background_fill_primary": "surface",
    "background_fill_secondary": "sunken",
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "block_background_fill": "ground",
    "block_label_background_fill": "surface",
    "block_label_text_color": "muted",
    "block_title_text_color": "text",
    "block_info_text_color": "muted",
    "block_border_color": "line",
    "input_background_fill": "surface",
    "input_background_fill_focus": "surface",
    "input_border_color": "strong-line",
    "input_border_color_focus": "accent",
    "input_placeholder_color": "muted",
    "color_accent_soft": "accent-soft",
    "slider_color": "accent",
    "checkbox_background_color": "surface",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color": "strong-line",
    "checkbox_border_color_selected": "accent",
    "checkbox_border_color_focus": "accent",
    "checkbox_label_background_fill": "surface",
    "checkbox_label_text_color": "text",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-hover",
    "button_primary_text_color": "on-accent",
    "button_secondary_background_fill": "surface",
    "button_secondary_background_fill_hover": "sunken",
    "button_secondary_text_color": "text",
    "button_secondary_border_color": "line",
    "link_text_color": "accent",
    "link_text_color_hover": "accent-hover",
    "link_text_color_visited": "accent",
    "link_text_color_active": "accent-hover",
    "panel_background_fill": "ground",
    "accordion_text_color": "text",
}
"""Gradio's variable -> our token; the same for light and dark, as the token itself has two values."""


def build_theme() -> gr.themes.Base:
    """Build the theme: system fonts, so that none is downloaded, and one accent colour."""
    base = gr.themes.Base(
        font=FONT, font_mono=MONO, radius_size="md", spacing_size="md", text_size="md", neutral_hue="stone"
    )
    values = {
        name: f"var(--sl-{token})"
        for variable, token in TOKENS.items()
        for name in (variable, f"{variable}_dark")
    }
    return base.set(
        **values,
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        block_title_text_weight="600",
        block_label_text_weight="600",
        button_primary_shadow="none",
        input_shadow="none",
        input_shadow_focus="0 0 0 1px var(--sl-accent)",
        layout_gap="16px",
        form_gap_width="0px",
    )
