"""What the page shows before its scripts run: its header, the tabs, and the places of the form and the stage."""

from __future__ import annotations

from html import escape

from safelight.ui.page import Translations
from safelight.ui.panels import PANELS
from safelight.ui.texts import LANGUAGES


def skeleton_html(translations: Translations) -> str:
    """The skeleton as HTML, which ``skeleton.css`` lays out like the page.

    It has the texts of all languages; the style sheet shows those of the language that the document says. It is not
    interactive, hidden from assistive technology, and removed by ``main.js``.
    """
    tabs = "".join(
        f"<span>{_in_languages(translations, panel.title)}</span>"
        for panel in sorted(PANELS.values(), key=lambda each: each.order)
    )
    return (
        '<div id="sl-skeleton" aria-hidden="true" inert>'
        '<div class="sl-header"><span class="sl-lamp sl-small"></span><strong>Safelight</strong></div>'
        f'<div class="sl-skeleton-tabs">{tabs}</div>'
        '<div class="sl-skeleton-create"><div class="sl-skeleton-form">'
        f"<span>{_in_languages(translations, 'create.prompt')}</span>{'<i></i>' * 8}</div>"
        '<div class="sl-skeleton-stage"></div></div></div>'
    )


def _in_languages(translations: Translations, key: str) -> str:
    """A text in all languages; what is no key is its own text."""
    texts = translations.in_languages(key)
    return "".join(f'<span lang="{language}">{escape(texts[language])}</span>' for language in LANGUAGES)
