"""Prompt styles: named prompt templates, read from JSON and CSV files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from safelight.errors import PromptError, StyleUnknownError

PLACEHOLDER = "{prompt}"
_HINT = (
    'A style file is JSON, {"name": …, "prompt": …, "negative_prompt": …} or a list of these, '
    "or CSV with the columns name, prompt and negative_prompt."
)


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """A prompt template.

    Attributes:
        name: The style's name.
        prompt: The template, with ``{prompt}`` in place of the prompt; without it, it is appended to the prompt.
        negative_prompt: The template of the negative prompt, likewise.
    """

    name: str
    prompt: str = ""
    negative_prompt: str = ""


def load_styles(folder: Path) -> dict[str, PromptStyle]:
    """Load all styles of a folder's ``*.json`` and ``*.csv`` files (A1111's styles.csv), by name.

    A folder that does not exist has no styles.

    Raises:
        PromptError: A file cannot be read, is no style file, or repeats the name of another style.
    """
    styles: dict[str, PromptStyle] = {}
    origin: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in (".json", ".csv"):
            continue
        for style in _read(path):
            if style.name in styles:
                raise PromptError(
                    f"{path.name}: there is already a style {style.name!r} in {origin[style.name].name}.",
                    hint="Give one of the two another name.",
                )
            styles[style.name], origin[style.name] = style, path
    return styles


def select_styles(names: Iterable[str], styles: Mapping[str, PromptStyle]) -> list[PromptStyle]:
    """Look up styles by name, in the given order.

    Raises:
        StyleUnknownError: There is no style of that name.
    """
    names = list(names)
    for name in names:
        if name not in styles:
            near = get_close_matches(name, styles, n=3) or sorted(styles)[:10]
            hint = f"Did you mean {', '.join(near)}?" if near else "The folder of styles has none."
            raise StyleUnknownError(f"There is no prompt style {name!r}.", hint=hint, context={"name": name})
    return [styles[name] for name in names]


def apply_styles(prompt: str, negative_prompt: str, styles: Iterable[PromptStyle]) -> tuple[str, str]:
    """Return the prompt and the negative prompt with each style applied in order, as in A1111."""
    for style in styles:
        prompt = _merge(prompt, style.prompt)
        negative_prompt = _merge(negative_prompt, style.negative_prompt)
    return prompt, negative_prompt


def _merge(prompt: str, style: str) -> str:
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    if not style.strip():
        return prompt
    return f"{prompt.strip()}, {style.strip()}" if prompt.strip() else style.strip()


def _read(path: Path) -> list[PromptStyle]:
    try:
        text = path.read_text("utf-8-sig")
        rows = _csv_rows(text) if path.suffix.lower() == ".csv" else _json_rows(text)
        return [_style(row) for row in rows]
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror or error}.", hint=_HINT) from error
    except (ValueError, csv.Error) as error:  # not UTF-8, not JSON, or rejected by the functions below
        raise PromptError(f"{path.name} is no style file: {error}.", hint=_HINT) from error
    except RecursionError as error:
        raise PromptError(f"{path.name} is no style file: it is nested too deep.", hint=_HINT) from error


def _csv_rows(text: str) -> list[dict[str, object]]:
    """Return the rows that have a name; the first versions of A1111 called the prompt's column "text"."""
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    if "name" not in (table.fieldnames or ()):
        raise ValueError("its first line has no column name")
    rows = [{key: value or "" for key, value in row.items() if key is not None} for row in table]
    return [row | {"prompt": row.get("prompt", row.get("text", ""))} for row in rows if row["name"]]


def _json_rows(text: str) -> list[dict[str, object]]:
    body = json.loads(text)
    rows = body if isinstance(body, list) else [body]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a style is an object with the keys name, prompt and negative_prompt")
    return [row | {"negative_prompt": row.get("negative_prompt", row.get("negative", ""))} for row in rows]


def _style(row: Mapping[str, object]) -> PromptStyle:
    return PromptStyle(*(_text_value(row, key) for key in ("name", "prompt", "negative_prompt")))


def _text_value(row: Mapping[str, object], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str) or (key == "name" and not value):
        raise ValueError(f"{key} is {json.dumps(value, default=str)[:80]} where words should be")
    return value
