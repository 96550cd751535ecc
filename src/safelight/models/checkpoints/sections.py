"""The networks in a weights file: which keys are each network's, and what kind it is; torch is not imported.

A file with several networks puts a prefix before the names of each: those of the original Stable Diffusion code, of
ComfyUI, or a pipeline's component names. A file with one network has none, or one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safelight.models.checkpoints.layouts import FAMILY_LAYOUTS, FamilyLayout, Role, Shapes
from safelight.models.checkpoints.layouts.autoencoders import AUTOENCODERS
from safelight.models.checkpoints.layouts.text_encoders import (
    TEXT_ENCODERS,
    core_name,
)
from safelight.models.checkpoints.safetensors_header import (
    TensorEntry,
    count_elements,
    read_header,
)
from safelight.models.digests import FileVersion, file_version

_PREFIXES = re.compile(
    r"model\.diffusion_model\.|diffusion_model\.|transformer\.(?!resblocks\.)|unet\.|net\."
    r"|first_stage_model\.|vae\."
    r"|cond_stage_model\.(?:transformer|model)\.|conditioner\.embedders\.\d+\.(?:transformer|model)\."
    r"|text_encoders\.\w[\w.-]*?\.(?:transformer|model)\.|text_encoders\.\w+\.|text_encoder(?:_\d)?\."
)
_DENOISERS = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "net.", "model.")
_AUTOENCODERS = ("first_stage_model.", "vae.")
_ENCODER_KEYS = tuple(key for layout in TEXT_ENCODERS for key in (*layout.own_keys, *layout.library_keys))
_BARE_MODEL = "model."
"""Before the keys of AuraFlow's and other authors' files, and of language models; it counts if nothing else does."""


@dataclass(frozen=True)
class Section:
    """One network in a file.

    Args:
        prefix: What its keys begin with.
        role: What it is for.
        kinds: The names of the layouts that it may have, the likeliest first.
        width: The width by which it fits to other networks.
        words: Entries in a text encoder's vocabulary; 0 for others.
        size: Its bytes.
        elements: Its floating-point weights.
        precision: How most of them are stored.
    """

    prefix: str
    role: Role
    kinds: tuple[str, ...]
    width: int | None
    words: int
    size: int
    elements: int
    precision: str


@dataclass(frozen=True)
class FileContents:
    """What a file holds.

    Args:
        sections: Its networks that are known.
        loose: Keys that belong to none of them, such as the marks of v-prediction.
    """

    sections: tuple[Section, ...]
    loose: frozenset[str]

    def of_role(self, role: Role) -> tuple[Section, ...]:
        """The networks for one purpose."""
        return tuple(section for section in self.sections if section.role == role)


def read_contents(path: Path) -> FileContents:
    """Find out which networks a file holds; its header is read once until the file changes.

    Raises:
        FileMissingError, PickleRefusedError, CheckpointInvalidError: As in ``read_header``.
    """
    return _read_contents(path, file_version(path))


@lru_cache(maxsize=10_000)
def _read_contents(path: Path, _: FileVersion) -> FileContents:
    return read_header(path).derive(find_sections)


def find_sections(tensors: Mapping[str, TensorEntry]) -> FileContents:
    """Find the networks among a file's tensors."""
    groups = _group(tensors)
    sections, loose = [], set(groups.get("", {}))
    for prefix, own in groups.items():
        if (section := _identify(prefix, own, alone=len(groups) == 1)) is not None:
            sections.append(section)
            loose -= {prefix + name for name in own}
    return FileContents(tuple(sections), frozenset(loose))


def shapes_of(tensors: Mapping[str, TensorEntry], prefix: str) -> Shapes:
    """The shapes of the tensors after a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor.shape for name, tensor in tensors.items() if name.startswith(prefix)
    }


def _group(tensors: Mapping[str, TensorEntry]) -> dict[str, dict[str, TensorEntry]]:
    """Tensors by prefix, without it; those without a prefix are under ""."""
    groups: dict[str, dict[str, TensorEntry]] = {}
    for name, tensor in tensors.items():
        found = _PREFIXES.match(name)
        prefix = found[0] if found else ""
        groups.setdefault(prefix, {})[name.removeprefix(prefix)] = tensor
    if len(groups) == 1 and "" in groups and all(name.startswith(_BARE_MODEL) for name in groups[""]):
        groups = {_BARE_MODEL: {name.removeprefix(_BARE_MODEL): each for name, each in groups[""].items()}}
    return groups


def _identify(prefix: str, tensors: Mapping[str, TensorEntry], *, alone: bool) -> Section | None:
    """The network of a group of tensors; None if it is none that is known."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    bare = alone or prefix in ("", _BARE_MODEL)
    if prefix in _DENOISERS or bare:
        families = [family.denoiser.name for family in FAMILY_LAYOUTS if family.denoiser.matches(shapes)]
        if families:
            return _section(prefix, "denoiser", families, None, 0, tensors)
    if prefix in _AUTOENCODERS or bare:
        fitting = [layout for layout in AUTOENCODERS if layout.matches(shapes)]
        if fitting:
            width = fitting[0].width(shapes)
            return _section(prefix, "vae", [layout.name for layout in fitting], width, 0, tensors)
    joined = "\n".join(shapes)
    if prefix not in _AUTOENCODERS and any(key in joined for key in _ENCODER_KEYS):
        core = {core_name(name): shape for name, shape in shapes.items()}
        encoders = [layout for layout in TEXT_ENCODERS if layout.matches(core)]
        if encoders:
            words = max((shape[0] for name, shape in core.items() if _is_vocabulary(name)), default=0)
            names = [layout.name for layout in encoders]
            return _section(prefix, "text encoder", names, encoders[0].width(core), words, tensors)
    return None


def _is_vocabulary(name: str) -> bool:
    return name.endswith(
        ("token_embedding.weight", "embed_tokens.weight", "shared.weight", "word_embeddings.weight")
    )


def _section(
    prefix: str,
    role: Role,
    kinds: list[str],
    width: int | None,
    words: int,
    tensors: Mapping[str, TensorEntry],
) -> Section:
    elements = count_elements(tensors.values())
    return Section(
        prefix=prefix,
        role=role,
        kinds=tuple(kinds),
        width=width,
        words=words,
        size=sum([entry.nbytes for entry in tensors.values()]),
        elements=elements.total(),
        precision=max(elements, key=elements.__getitem__, default=""),
    )


def families_of(section: Section) -> tuple[FamilyLayout, ...]:
    """The families whose denoiser a section may be."""
    return tuple(family for family in FAMILY_LAYOUTS if family.denoiser.name in section.kinds)
