from __future__ import annotations

import json
from pathlib import Path

import pytest

from safelight.errors import PromptError, StyleUnknownError
from safelight.generation.prompts import PromptStyle, apply_styles, load_styles, select_styles

FILM = PromptStyle("film", "film still of {prompt}, grain", "drawing")
INK = PromptStyle("ink", "ink, hatching", "{prompt}, colour")
NAMES = PromptStyle("none")


@pytest.mark.parametrize(
    ("styles", "expected"),
    [
        ((), ("a cat", "dog")),
        ((FILM,), ("film still of a cat, grain", "dog, drawing")),
        ((INK,), ("a cat, ink, hatching", "dog, colour")),
        ((FILM, INK), ("film still of a cat, grain, ink, hatching", "dog, drawing, colour")),
        ((INK, FILM), ("film still of a cat, ink, hatching, grain", "dog, colour, drawing")),
        ((NAMES,), ("a cat", "dog")),
    ],
)
def test_styles_are_applied_in_order(styles: tuple[PromptStyle, ...], expected: tuple[str, str]) -> None:
    assert apply_styles("a cat", "dog", styles) == expected


def test_an_empty_prompt_becomes_the_styles_text() -> None:
    assert apply_styles("", " ", [PromptStyle("x", " a ", "b")]) == ("a", "b")


def test_json_and_csv_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(
        json.dumps({"name": "one", "prompt": "{prompt}, a", "negative": "b", "more": 1})
    )
    (tmp_path / "a.JSON").write_text(json.dumps([{"name": "two"}, {"name": "three", "negative_prompt": "c"}]))
    (tmp_path / "styles.csv").write_text(
        '\ufeffname,prompt,negative_prompt\nfour,"a, ""b""\nc",d\nfive,é\n,,\nsix, x ,y,z\n', "utf-8"
    )
    (tmp_path / "notes.txt").write_text("no style")
    assert load_styles(tmp_path) == {
        "one": PromptStyle("one", "{prompt}, a", "b"),
        "two": PromptStyle("two"),
        "three": PromptStyle("three", "", "c"),
        "four": PromptStyle("four", 'a, "b"\nc', "d"),
        "five": PromptStyle("five", "é", ""),
        "six": PromptStyle("six", "x ", "y"),
    }


def test_old_a1111_files_have_a_text_column(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("name,text\nold,words\n")
    assert load_styles(tmp_path) == {"old": PromptStyle("old", "words")}


def test_a_missing_folder_has_no_styles(tmp_path: Path) -> None:
    assert load_styles(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.json", b"{", "x.json is no style file: Expecting property name"),
        ("x.json", b"3", "x.json is no style file: a style is an object"),
        ("x.json", b"[[]]", "x.json is no style file: a style is an object"),
        ("x.json", b'{"prompt": "a"}', 'x.json is no style file: name is "" where words should be.'),
        (
            "x.json",
            b'{"name": "a", "prompt": 3}',
            "x.json is no style file: prompt is 3 where words should be.",
        ),
        ("x.json", b'{"name": "a", "negative": null}', "x.json is no style file: negative_prompt is null"),
        ("x.json", b"[" * 100_000, "x.json is no style file: it is nested too deep."),
        ("x.json", b"\xff", "x.json is no style file: 'utf-8' codec"),
        ("x.csv", b"prompt\na\n", "x.csv is no style file: its first line has no column name."),
        ("x.csv", b"", "x.csv is no style file: its first line has no column name."),
        ("x.csv", b'name,prompt\na,"' + b"b" * 200_000, "x.csv is no style file: field larger than"),
    ],
)
def test_invalid_style_files(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PromptError) as caught:
        load_styles(tmp_path)
    assert caught.value.message.startswith(complaint)
    assert "name, prompt and negative_prompt" in caught.value.hint


def test_a_folder_with_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(PromptError, match=r"^x\.csv cannot be read"):
        load_styles(tmp_path)


def test_duplicate_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,prompt\nfilm,x\n")
    (tmp_path / "b.json").write_text('{"name": "film"}')
    with pytest.raises(PromptError, match=r"b\.json: there is already a style 'film' in a\.csv"):
        load_styles(tmp_path)


def test_styles_by_name() -> None:
    styles = {style.name: style for style in (FILM, INK)}
    assert select_styles(["ink", "film", "ink"], styles) == [INK, FILM, INK]
    for name, hint in [("fillm", "Did you mean film?"), ("q", "Did you mean film, ink?")]:
        with pytest.raises(StyleUnknownError) as caught:
            select_styles(["ink", name], styles)
        assert caught.value.message == f"There is no prompt style {name!r}."
        assert caught.value.hint == hint
    with pytest.raises(StyleUnknownError) as caught:
        select_styles(iter(["a"]), {})
    assert caught.value.hint == "The folder of styles has none."
