"""Load textual inversions: vectors that stand in a prompt for words that the text encoders do not know.

Layouts: one tensor of vectors under any name (A1111, kohya, diffusers), or one for each text encoder (clip_l and clip_g
of A1111, kohya and ComfyUI for Stable Diffusion XL; text_encoders_0 and text_encoders_1 of diffusers' trainer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from safelight.errors import AdapterFamilyError, AdapterInvalidError, CheckpointInvalidError
from safelight.models.checkpoints.safetensors_header import Header, read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.families import FAMILIES, Family
from safelight.models.inventory.file_kinds import identify

MAX_VECTORS = 1000
"""More than any prompt has places for."""
_ENCODERS: Mapping[str, tuple[str, ...]] = {
    "clip_l": ("text_encoder",),
    "text_encoders_0": ("text_encoder",),
    "clip_g": ("text_encoder_2",),
    "text_encoders_1": ("text_encoder_2",),
}
"""The text encoder of a tensor by its name; other names are those of a file with one tensor."""


@dataclass(frozen=True, eq=False)
class LoadedEmbedding:
    """A textual inversion in memory.

    Args:
        path: Its file.
        digest: The file's SHA-256.
        vectors: Its vectors by text encoder: [vectors, width], fp32; as many for each.
    """

    path: Path
    digest: str
    vectors: Mapping[str, torch.Tensor] = field(repr=False)

    @property
    def count(self) -> int:
        """How many tokens it takes in a prompt."""
        return len(next(iter(self.vectors.values())))

    @property
    def nbytes(self) -> int:
        """Bytes of its vectors."""
        return sum(each.nbytes for each in self.vectors.values())


def load_embedding(
    path: Path, networks: Mapping[str, torch.nn.Module], family: Family, digest: str
) -> LoadedEmbedding:
    """Load a textual inversion; its vectors are copies in memory.

    Args:
        path: A safetensors file.
        networks: The checkpoint's networks by component; of text encoders the vocabulary's width is read.
        family: The checkpoint's family.
        digest: The file's SHA-256.

    Raises:
        FileMissingError, PickleRefusedError: As in ``read_header``.
        AdapterInvalidError: It is no textual inversion, or damaged.
        AdapterFamilyError: It is for another family, or the family has no textual inversions.
    """
    try:
        header = read_header(path)
        keys = _keys_by_encoder(path, header, family)
        tensors = read_tensors(path, keys.values())
    except CheckpointInvalidError as error:
        raise AdapterInvalidError(error.message) from error
    vectors = {component: _vectors(path, tensors[key]) for component, key in keys.items()}
    for component, found in vectors.items():
        width = _width(networks[component]) if component in networks else 0
        if found.shape[1] != width:
            raise _other_family(path, header, family, found.shape[1])
    if len({len(each) for each in vectors.values()}) > 1:
        raise AdapterInvalidError(f"{path} has different numbers of vectors for the text encoders.")
    return LoadedEmbedding(path, digest, vectors)


def _keys_by_encoder(path: Path, header: Header, family: Family) -> dict[str, str]:
    """The names of the tensors by the text encoder that they are for."""
    names = list(header.tensors)
    if identify(header).kind not in ("embedding", "unknown") or not names:
        raise AdapterInvalidError(f"{path} is no textual inversion.")
    if family.text_encoding not in ("clip", "clip-xl"):
        raise AdapterFamilyError(
            f"{path} is a textual inversion, which a {family.title} checkpoint has no use for.",
            hint="Textual inversions are for Stable Diffusion 1, 2 and XL.",
        )
    if all(name in _ENCODERS for name in names):
        found = {component: name for name in names for component in _ENCODERS[name]}
    elif len(names) == 1:
        found = {family.text_encoders[0]: names[0]}
    else:
        raise AdapterInvalidError(f"{path} is no textual inversion: it has {len(names)} tensors.")
    xl = family.text_encoding == "clip-xl"
    if set(found) < set(family.text_encoders) or (len(found) > 1 and not xl):
        width = next(iter(header.tensors.values())).shape[-1:] or (1,)
        raise _other_family(path, header, family, width[0])
    return {component: found[component] for component in family.text_encoders}


def _vectors(path: Path, given: torch.Tensor) -> torch.Tensor:
    vectors = given.float().clone()
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or not 0 < len(vectors) <= MAX_VECTORS:
        raise AdapterInvalidError(f"{path} is no textual inversion: it has vectors of {list(given.shape)}.")
    if not vectors.isfinite().all():
        raise AdapterInvalidError(f"{path} is damaged: it has values that are no numbers.")
    return vectors


def _width(network: torch.nn.Module) -> int:
    """The width of a text encoder's vocabulary."""
    embeddings = network.get_input_embeddings()
    return int(embeddings.weight.shape[1])


def _other_family(path: Path, header: Header, family: Family, width: int) -> AdapterFamilyError:
    found = identify(header).family
    title = FAMILIES[found].title if found and found in FAMILIES else f"text encoders of width {width}"
    return AdapterFamilyError(f"{path} is for {title}, and the checkpoint is a {family.title}.")
