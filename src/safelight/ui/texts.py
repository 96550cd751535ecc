"""The page's texts by language: one catalogue for Gradio's labels and our JavaScript."""

from __future__ import annotations

import json
from importlib.resources import files

LANGUAGES = ("en", "de", "fr")


def load_texts(language: str) -> dict[str, str]:
    """The texts of one of ``LANGUAGES`` by key."""
    path = files(__package__).joinpath(f"static/texts/{language}.json")
    texts: dict[str, str] = json.loads(path.read_text("utf-8"))
    return texts
