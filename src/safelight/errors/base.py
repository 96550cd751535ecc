"""The root of all errors, and those that any part of Safelight raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class SafelightError(Exception):
    """Base class of all errors that Safelight raises on purpose.

    Args:
        message: What was wrong with this input, in one sentence; the class's summary when not given.
        hint: What would be right; the class's hint when not given.
        field: The path of the request's field that is wrong, with dots, such as ``hires.scale``; the class's field
            when not given.
        context: Values for a message in another language, such as the range of the field; JSON values.
    """

    code: ClassVar[str] = "safelight"
    summary: ClassVar[str] = "Something Safelight understands went wrong."
    default_hint: ClassVar[str] = ""
    default_field: ClassVar[str] = ""
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        field: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message or self.summary
        self.hint = self.default_hint if hint is None else hint
        self.field = self.default_field if field is None else field
        self.context = dict(context or {})
        super().__init__(self.message)

    def to_dict(self) -> dict[str, Any]:
        """The error for JSON output: code, message and, where there are any, hint, field and context."""
        optional = {"hint": self.hint, "field": self.field, "context": self.context}
        return {
            "code": self.code,
            "message": self.message,
            **{name: value for name, value in optional.items() if value},
        }


class InputError(SafelightError):
    """The user's input cannot be used."""

    code = "input"
    summary = "The input cannot be used."
    http_status = 400
    exit_code = 2


class UsageError(InputError):
    """Options contradict each other or are out of range."""

    code = "usage"
    summary = "The command or its options cannot be used like this."
    default_hint = "Run the command with --help."


class SettingsError(InputError):
    """A setting in safelight.toml, the environment or a flag is wrong."""

    code = "settings"
    summary = "A setting has a value that cannot be used."
    default_hint = "docs/settings.md lists every setting with its range."


class SettingFixedError(SettingsError):
    """The setting cannot be changed while the server runs."""

    code = "settings.fixed"
    summary = "The setting cannot be changed while the server runs."
    default_hint = (
        "Change it in safelight.toml and start the server again; GET /v1/settings lists what can be changed."
    )
    http_status = 409


class FileMissingError(InputError):
    """The path does not exist or cannot be read."""

    code = "file.missing"
    summary = "The file or folder does not exist or cannot be read."
    default_hint = "Check the path and its permissions."
    http_status = 404


class OutputError(InputError):
    """The result cannot be written to the given path."""

    code = "output"
    summary = "The result cannot be written there."
    default_hint = "Choose a folder you may write to, on a disk with space left."


class OutputExistsError(OutputError):
    """The output exists already and would be replaced."""

    code = "output.exists"
    summary = "The output is already there and would be replaced."
    default_hint = "Give another name, or pass --overwrite; a scan that was cut short goes on with --resume."
    http_status = 409


class InternalError(SafelightError):
    """A defect of Safelight."""

    code = "internal"
    summary = "Safelight failed in a way it does not understand: a defect."
    default_hint = (
        "Run again with SAFELIGHT_DEBUG=1 for the traceback, and report it with safelight doctor --json."
    )
