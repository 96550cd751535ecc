from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import RunCommand
from tests.tiny.generation import INIT_IMAGE


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["small.png"], "usage"),
        (["small.png", "--point", "3"], "usage"),
        (["small.png", "--point", "65,3"], "request.above_maximum"),
        (["small.png", "--point", "3,3", "--beside", "9,9", "--box", "0,0,9,9"], "preprocessor.model"),
        (["nowhere.png", "--point", "3,3"], "file.missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_invalid_input_is_one_error(
    arguments: list[str], code: str, inside: RunCommand, tmp_path: Path
) -> None:
    INIT_IMAGE.save(tmp_path / "small.png")
    ran = inside("segment", *arguments, "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (2, code)
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]
