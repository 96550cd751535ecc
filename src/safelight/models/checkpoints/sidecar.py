"""What people put beside a weights file for what it cannot hold or tell: configurations and tokenizers.

Looked up in this order, for the file ``NAME.safetensors``:

- the folder ``NAME/``, laid out like a diffusers folder without weights (``transformer/config.json``,
  ``tokenizer/``, ``scheduler/scheduler_config.json`` …), or with the one network's ``config.json`` in it;
- ``NAME.json``: a config, or an object with a config for each component;
- the entry ``config`` of the file's own metadata, likewise;
- ``config.json`` and ``tokenizer.json`` in the same folder, as in the component folders of diffusers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.diffusers_layout import read_json
from safelight.models.checkpoints.folder_walk import WEIGHTS_SUFFIXES
from safelight.models.checkpoints.safetensors_header import read_header

_CONFIG_MARKS = ("_class_name", "model_type", "architectures")
_COMPONENT_STEMS = ("model", "diffusion_pytorch_model")
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
"""The names of weights files in the component folders of diffusers."""
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
)
_MORE_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def given_config(path: Path, component: str, role: str = "") -> dict[str, Any] | None:
    """The config that is given for a network in a file; None if there is none.

    Args:
        path: The weights file.
        component: The network's name in a pipeline.
        role: "denoiser" for a U-Net or transformer, whose folder may have either name.

    Raises:
        CheckpointInvalidError: It is damaged.
    """
    names = (component, "transformer", "unet") if role == "denoiser" else (component,)
    for candidate in _config_files(path, names):
        if candidate.is_file():
            return read_json(candidate)
    for given in (_beside(path), _inside(path)):
        if given is None:
            continue
        if any(mark in given for mark in _CONFIG_MARKS):
            return given
        for name in names:
            if isinstance(own := given.get(name), dict):
                return own
    return None


def given_scheduler(path: Path) -> dict[str, Any] | None:
    """The config of the scheduler that is given for a file."""
    candidate = _folder(path) / "scheduler" / "scheduler_config.json"
    if candidate.is_file():
        return read_json(candidate)
    for given in (_beside(path), _inside(path)):
        if given is not None and isinstance(own := given.get("scheduler"), dict):
            return own
    return None


def given_guider(path: Path, name: str) -> dict[str, Any] | None:
    """The config of a guider that is given for a file, by its component name."""
    candidate = _folder(path) / name / "guider_config.json"
    return read_json(candidate) if candidate.is_file() else None


def given_options(path: Path) -> dict[str, Any]:
    """The options of the pipeline that are given for a file: those of its folder's index."""
    candidate = _folder(path) / "model_index.json"
    return read_json(candidate) if candidate.is_file() else {}


def given_tokenizer(path: Path, names: Sequence[str], *, alone: bool, beside: bool) -> Path | None:
    """The folder of the tokenizer that is given for a text encoder in a file; None if there is none.

    Args:
        path: The file with the text encoder, or with the denoiser.
        names: The tokenizer's names in a pipeline.
        alone: The file has no other text encoder, so that a tokenizer without a number is this one's.
        beside: A tokenizer in the same folder counts, whatever the file's name is.
    """
    folder = _folder(path)
    places = [folder / name for name in names]
    if alone:
        places += [folder / "tokenizer", folder]
    if path.stem in _COMPONENT_STEMS:
        places += [path.parent, *(path.parent.parent / name for name in names)]
    elif beside:
        places.append(path.parent)
    return next((place for place in places if has_tokenizer(place)), None)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's files."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def files_beside(path: Path) -> tuple[Path, ...]:
    """A weights file's own configs and tokenizers: ``NAME.json``, and what is in ``NAME/``.

    A folder of its name may be one with other models: weights in it are none of these files.
    """
    folder = _folder(path)
    files = folder.rglob("*") if folder.is_dir() else ()
    inside = sorted(each for each in files if each.suffix.lower() not in WEIGHTS_SUFFIXES and each.is_file())
    given = _parsed(path)
    beside = [path.with_suffix(".json")] if given is _DAMAGED or _is_config(given) else []
    return tuple([*beside, *inside][:200])


def files_about(path: Path) -> tuple[Path, ...]:
    """All files that may say something about a weights file, so that a change of one is a change of it.

    Beside its own there are those of its folder, which other files may share: a tokenizer, a component's config.
    """
    shared = [path.parent / name for name in (*_TOKENIZER_FILES, *_MORE_TOKENIZER_FILES)]
    if path.stem in _COMPONENT_STEMS:
        shared.append(path.parent / "config.json")
        for name in _TEXT_ENCODERS:
            other = path.parent.parent / name.replace("text_encoder", "tokenizer")
            shared += sorted(other.glob("*")) if other.is_dir() else []
    return (*files_beside(path), *(each for each in shared if each.is_file()))


def _folder(path: Path) -> Path:
    return path.with_suffix("")


def _config_files(path: Path, names: tuple[str, ...]) -> list[Path]:
    folder = _folder(path)
    inside = [folder / name / "config.json" for name in names]
    own = [path.parent / "config.json"] if path.stem in _COMPONENT_STEMS else []
    return [*inside, folder / "config.json", *own]


def _beside(path: Path) -> dict[str, Any] | None:
    """``NAME.json``, unless it is another program's note.

    Raises:
        CheckpointInvalidError: It is not JSON, so that nobody can tell whose it is.
    """
    given = _parsed(path)
    if given is _DAMAGED:
        candidate = path.with_suffix(".json")
        raise CheckpointInvalidError(
            f"{candidate} is not JSON.",
            hint=f"It may hold the configuration of {path.name}: repair it, or remove it if it does not.",
        )
    return given if isinstance(given, dict) and _is_config(given) else None


def _is_config(given: object) -> bool:
    """Whether a document is a config, or has one for each component."""
    known = (*_CONFIG_MARKS, "transformer", "unet", "vae", "scheduler", *_TEXT_ENCODERS)
    return isinstance(given, dict) and any(name in given for name in known)


_DAMAGED = object()


def _parsed(path: Path) -> object:
    """What ``NAME.json`` holds; None if there is none, ``_DAMAGED`` if it is not JSON."""
    candidate = path.with_suffix(".json")
    try:
        return json.loads(candidate.read_text(encoding="utf-8-sig")) if candidate.is_file() else None
    except (OSError, ValueError, RecursionError):
        return _DAMAGED


def _inside(path: Path) -> dict[str, Any] | None:
    text = read_header(path).metadata.get("config", "")
    try:
        given = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None
