from __future__ import annotations

import inspect
import re

import pytest

from safelight import errors
from safelight.errors import InputError, SafelightError, catalogue

CLASSES = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, SafelightError)]


def test_catalogue_has_every_class_once_and_parents_first() -> None:
    listed = catalogue()
    assert len(listed) == len(set(listed))
    assert set(listed) == set(CLASSES)
    assert listed[0] is SafelightError
    assert all(listed.index(c.__base__) < listed.index(c) for c in listed[1:])


def test_codes_are_unique() -> None:
    codes = [c.code for c in CLASSES]
    assert len(codes) == len(set(codes)) >= 30


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_class_has_a_docstring_for_the_catalogue(kind: type[SafelightError]) -> None:
    assert {"code", "summary"} <= set(vars(kind)), "inherited from its parent"
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", kind.code)
    assert kind.summary[0].isupper()
    assert kind.summary.endswith(".")
    assert kind.__doc__
    assert kind().message == str(kind()) == kind.summary
    assert 400 <= kind.http_status < 600
    flagged = kind is errors.BlockedError
    assert kind.exit_code == (1 if flagged else 2 if issubclass(kind, InputError) else 3)


def test_message_and_hint_replace_those_of_the_class() -> None:
    error = errors.ImageEmptyError("a.jpg is empty.", hint="Send it again.")
    assert error.to_dict() == {"code": "image.empty", "message": "a.jpg is empty.", "hint": "Send it again."}
    assert str(error) == "a.jpg is empty."


def test_class_hint_counts_unless_another_is_given() -> None:
    assert errors.ImageEmptyError().to_dict()["hint"] == errors.ImageEmptyError.default_hint != ""
    assert "hint" not in errors.ImageEmptyError(hint="").to_dict()
    assert errors.SafelightError().to_dict() == {
        "code": "safelight",
        "message": "Something Safelight understands went wrong.",
    }
