"""The models that a request may name: those that the server lists, never a path or a hub id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safelight.errors import (
    AdapterMissingError,
    CheckpointMissingError,
    ClassifierUnknownError,
    ModelError,
    UpscalerUnknownError,
)
from safelight.generation.upscaling.registry import find_upscalers
from safelight.models.adapters.adapter_names import find_adapter
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.checkpoints.discovery import find_checkpoint, missing_folders, parts_index
from safelight.models.checkpoints.parts import AUTOMATIC, find_part_file
from safelight.models.classifiers.classifier_store import ClassifierStore
from safelight.models.controls.discovery import find_control_by_name
from safelight.models.controls.packaged import control_folders
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.settings import Settings

LISTED_HINT = "GET /v1/models lists what can be named; paths and hub ids are not taken from callers."
ADAPTERS_HINT = "GET /v1/adapters lists what can be named; paths are not taken from callers."
LATENT = "latent"
"""The second pass's upscaling of latents, which is no upscaler."""


def default_checkpoint_name(settings: Settings) -> str:
    """The public name of the default checkpoint, without its folder."""
    return public_name(settings.checkpoint)


def public_name(checkpoint: str) -> str:
    """A checkpoint's name, or the last part of a path."""
    return Path(checkpoint).name if checkpoint.startswith((".", "/", "~")) else checkpoint


def with_allowed_names(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Check the models that a request's fields name, and return the fields with canonical names.

    Raises:
        CheckpointMissingError, UpscalerUnknownError, ControlMissingError: The server does not list a model of that
            name.
        ModelError: The checkpoint cannot be used.
    """
    known, own = dict(fields), default_checkpoint_name(settings)
    if known.get("checkpoint") not in (None, own):
        known["checkpoint"] = check_checkpoint(known["checkpoint"], settings)
    if known.get("checkpoint") == own:
        del known["checkpoint"]
    check_controls(known.get("control") or (), settings)
    for part in ("hires", "refiner"):
        own_part = known.get(part) or {}
        if own_part.get("checkpoint"):
            known[part] = dict(own_part) | {
                "checkpoint": _later_checkpoint(own_part["checkpoint"], part, settings)
            }
    hires = known.get("hires") or {}
    named = [*([known["vae"]] if known.get("vae") else []), *(known.get("text_encoders") or ())]
    if named:
        check_parts(named, settings)
    for field, upscaler in (
        ("upscaler", known.get("upscaler")),
        ("hires.upscaler", hires.get("upscaler", LATENT)),
    ):
        if upscaler not in (None, LATENT):
            check_upscaler(upscaler, settings.home, field)
    return known


def check_checkpoint(name: str, settings: Settings) -> str:
    """Raise unless a checkpoint is in the data directory or the model folders, or is the starter model.

    Returns:
        Its canonical name: a name with and without the suffix means the same checkpoint.

    Raises:
        CheckpointMissingError: There is no such checkpoint.
        ModelError: The checkpoint cannot be used.
    """
    try:
        return find_checkpoint(
            name, settings.home, folders=settings.current_model_folders, allow_paths=False
        ).name
    except CheckpointMissingError as error:
        suggestion = error.hint if error.hint.startswith("Did you mean") else ""
        if missing_folders(settings.current_model_folders):  # their paths are for administrators
            suggestion = "A folder with models cannot be reached now."
        raise CheckpointMissingError(
            f"There is no checkpoint {name!r} on this server.",
            hint=f"{suggestion} {LISTED_HINT}".strip(),
            context={"name": name},
        ) from error


def _later_checkpoint(name: str, part: str, settings: Settings) -> str:
    """The canonical name of a later pass's checkpoint.

    Raises:
        ModelError: As in ``check_checkpoint``; it names the part's field.
    """
    if name == settings.checkpoint == default_checkpoint_name(settings):
        return name
    try:
        return check_checkpoint(name, settings)
    except ModelError as error:
        error.field = f"{part}.checkpoint"
        raise


def check_parts(names: Iterable[str], settings: Settings) -> None:
    """Raise unless autoencoders and text encoders lie in the data directory or the model folders.

    Raises:
        PartMissingError: One does not.
    """
    index = parts_index(settings.home, settings.current_model_folders)
    for name in names:
        if name.lower() not in AUTOMATIC:
            find_part_file(name, index, allow_paths=False)


def check_controls(controls: Iterable[Mapping[str, Any]], settings: Settings) -> None:
    """Raise unless the control networks that are named lie in the data directory or the model folders.

    Raises:
        ControlMissingError: One does not.
        ModelError: Its file cannot be used.
    """
    folders = control_folders(settings.home, settings.current_model_folders)
    for number, control in enumerate(controls):
        if (name := control.get("model")) is not None:
            try:
                find_control_by_name(name, folders, allow_paths=False)
            except ModelError as error:
                error.field = f"control.{number}.model"
                raise


def check_adapter(name: str, settings: Settings) -> None:
    """Raise unless an adapter lies in the data directory or the model folders.

    Raises:
        AdapterMissingError, AdapterAmbiguousError: It does not, or several have its name.
    """
    if Path(name).expanduser().is_absolute():
        raise AdapterMissingError(
            f"There is no LoRA called {name} on this server.", hint=ADAPTERS_HINT, context={"near": []}
        )
    find_adapter(name, adapter_folders(settings.home, settings.current_model_folders), "LoRA")


def check_upscaler(name: str, home: Path, field: str = "upscaler") -> None:
    """Raise unless the server lists an upscaler.

    Args:
        name: Its name.
        home: The data directory.
        field: The request's field that names it.

    Raises:
        UpscalerUnknownError: There is no such upscaler.
    """
    known = [info.name for info in find_upscalers(home)]
    if name not in known:
        raise UpscalerUnknownError(
            f"There is no upscaler {name!r} on this server.",
            hint=f"Known are {', '.join(known)}.",
            field=field,
            context={"name": name, "choices": known},
        )


def check_classifier(name: str, settings: Settings) -> None:
    """Raise unless a classifier is registered or installed.

    Raises:
        ClassifierUnknownError: There is no such classifier.
    """
    if name not in CLASSIFIERS and not ClassifierStore(settings.models_folder).has(name):
        raise ClassifierUnknownError(f"There is no classifier {name!r} on this server.", hint=LISTED_HINT)
