"""Describe a weights file for people: what it is, its parts and precision, and what its makers wrote into it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safelight.models.adapters.description import AdapterDescription, describe_adapter
from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.safetensors_header import PRECISIONS, Header, read_header
from safelight.models.checkpoints.sections import read_contents
from safelight.models.inventory.file_kinds import Component, FileKind, identify, summarize

MAX_TAGS = 100
"""The most frequent training tags that are kept."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file.

    Args:
        path: The file.
        size: Its bytes.
        found: What it is.
        precisions: Bytes of tensors by precision: fp32, fp16, bf16, fp8, or the format's own name of a type.
        metadata: What its header says in text.
        trigger_words: Words that its makers trained it to react to.
        training_tags: How often each tag stood in the captions that it was trained with, the most frequent first.
        adapter: What kind of a LoRA or textual inversion it is; None for other files.
    """

    path: Path
    size: int
    found: FileKind
    precisions: Mapping[str, int]
    metadata: Mapping[str, str]
    trigger_words: tuple[str, ...]
    training_tags: Mapping[str, int]
    adapter: AdapterDescription | None = None

    def to_dict(self) -> dict[str, object]:
        """The file for JSON output."""
        return {
            "type": self.found.kind,
            "family": self.found.family,
            "path": str(self.path),
            "size": self.size,
            "precisions": dict(self.precisions),
            "components": [part.to_dict() for part in self.found.components],
            "trigger_words": list(self.trigger_words),
            "training_tags": dict(self.training_tags),
            "metadata": dict(self.metadata),
            **({"adapter": self.adapter.to_dict()} if self.adapter else {}),
        }


def describe_weights_file(path: Path) -> WeightsFile:
    """Describe a safetensors file from its header; no weights are read.

    Raises:
        FileMissingError, PickleRefusedError, CheckpointInvalidError: As in ``read_header``.
    """
    header = read_header(path)
    precisions: Counter[str] = Counter()
    for tensor in header.tensors.values():
        precisions[PRECISIONS.get(tensor.dtype, tensor.dtype)] += tensor.nbytes
    found = _identify(path, header)
    return WeightsFile(
        path=path,
        size=path.stat().st_size,
        found=found,
        precisions=dict(precisions.most_common()),
        metadata=header.metadata,
        trigger_words=_trigger_words(header, path),
        training_tags=_training_tags(header),
        adapter=describe_adapter(header) if found.kind in ("LoRA", "embedding") else None,
    )


def _identify(path: Path, header: Header) -> FileKind:
    """What a file is; of an autoencoder or text encoder its kind too, in place of a family."""
    found = identify(header)
    sections = read_contents(path).sections
    if found.kind in ("autoencoder", "text encoder") and sections:
        return replace(found, family=sections[0].kinds[0])
    return found


def checkpoint_components(checkpoint: Checkpoint) -> tuple[Component, ...]:
    """A checkpoint's networks, from the headers of its files.

    Raises:
        FileMissingError, CheckpointInvalidError: A file was replaced meanwhile.
    """
    found = []
    if checkpoint.kind == "file":
        for part in checkpoint.parts:
            tensors = read_header(part.path).tensors.items()
            found.append(
                summarize(part.component, [each for name, each in tensors if name.startswith(part.prefix)])
            )
        return tuple(found)
    for files in read_folder(checkpoint.path).components.values():
        entries = [entry for file in files.weights for entry in read_header(file).tensors.values()]
        if entries:
            found.append(summarize(files.name, entries))
    return tuple(found)


def _trigger_words(header: Header, path: Path) -> tuple[str, ...]:
    """The words in the header (Stability AI's model specification), or in A1111's notes beside the file."""
    phrase = header.metadata.get("modelspec.trigger_phrase", "")
    notes = _read_object(path.with_suffix(".json"))
    words = [*phrase.split(","), *str(notes.get("activation text") or "").split(",")]
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


def _training_tags(header: Header) -> dict[str, int]:
    """The counts of tags that kohya's trainer writes by dataset, summed."""
    counts: Counter[str] = Counter()
    by_dataset = _parse_object(header.metadata.get("ss_tag_frequency", ""))
    for tags in by_dataset.values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                counts[tag.strip()] += count
    return dict(counts.most_common(MAX_TAGS))


def _read_object(path: Path) -> dict[str, object]:
    try:
        return _parse_object(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _parse_object(text: str) -> dict[str, object]:
    """A JSON object; empty for anything else: these notes are other programs' and of no consequence."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
