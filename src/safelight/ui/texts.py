"""The page's words, by language; Gradio's labels and our JavaScript read the same catalogue."""

from __future__ import annotations

import json
from importlib.resources import files

LANGUAGES = ("en", "de", "fr")


def catalogue(language: str) -> dict[str, str]:
    """The texts of one of LANGUAGES by their keys."""
    path = files(__package__).joinpath(f"static/texts/{language}.json")
    texts: dict[str, str] = json.loads(path.read_text("utf-8"))
    return texts
