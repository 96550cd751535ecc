"""Errors of training."""

from __future__ import annotations

from safelight.errors.base import InputError


class TrainingDataError(InputError):
    """The pictures or captions to train on cannot be used."""

    code = "training.data"
    summary = "The pictures or captions to train on cannot be used."
    default_hint = (
        "Give a folder of pictures, each with its caption in a file of the same name that ends with .txt, "
        "or with metadata.jsonl: one object with file_name and text a line."
    )
    http_status = 422


class TrainingStateError(InputError):
    """The state of an interrupted training does not belong to this training."""

    code = "training.state"
    summary = "The state of an interrupted training cannot be used."
    default_hint = "Run the command that was interrupted once more, or remove the file to start anew."
    http_status = 409
