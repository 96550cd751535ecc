"""The networks of a checkpoint that come from several files: found by content, or chosen by name.

Where several files fit, the choice is deterministic: those whose name says another family are left out; then those in
the same folder tree as the checkpoint come first, then those of the highest precision, then by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointInvalidError, PartMissingError, SafelightError
from safelight.models.checkpoints.diffusers_layout import INDEX_NAME, DiffusersFolder, read_json
from safelight.models.checkpoints.folder_walk import walk_weights
from safelight.models.checkpoints.layouts import NETWORKS, Slot, layout_of
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, read_header
from safelight.models.checkpoints.sections import Section, read_contents
from safelight.models.checkpoints.sidecar import has_tokenizer
from safelight.models.checkpoints.single_file import SingleFile, kind_in_slot, missing_error
from safelight.models.families import Family

_WEIGHTS = frozenset({".safetensors", ".gguf"})
_BITS = {"fp64": 64, "fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8}
_CONTAINERS = frozenset(
    {
        "checkpoints",
        "diffusion_models",
        "unet",
        "stable-diffusion",
        "text_encoders",
        "clip",
        "vae",
        "text_encoder",
    }
)
"""Folders of ComfyUI, A1111 and Forge for one kind of files; their parent holds those for the others."""
CHOICE_NOTE = "Several files fit as"
"""How notes on a choice among files begin."""
AUTOMATIC = frozenset({"", "automatic", "none"})
"""Names that leave the choice to Safelight, as A1111 and SD.Next spell them."""


@dataclass(frozen=True)
class PartFile:
    """A network of a checkpoint, and the file that it is read from.

    Args:
        component: Its name in the pipeline.
        kind: The name of its layout.
        path: The file.
        prefix: What the names of its tensors begin with.
        class_name: The class that the pipelines need.
        fixed: The family's published values for its configuration, as JSON.
        chosen: Why this file: "own" (it is in the checkpoint's file), "found" or "named".
        others: The names of files that would have fitted as well.
        tokenizer: The tokenizer that a text encoder needs, by its name.
        pulled_tokenizer: The folder with this tokenizer, if it was pulled.
    """

    component: str
    kind: str
    path: Path
    prefix: str
    class_name: str = ""
    fixed: str = "{}"
    chosen: str = field(default="own", compare=False)
    others: tuple[str, ...] = field(default=(), compare=False)
    tokenizer: str = ""
    pulled_tokenizer: Path | None = field(default=None, compare=False)

    @property
    def fixed_config(self) -> dict[str, Any]:
        """The family's published values for its configuration."""
        values: dict[str, Any] = json.loads(self.fixed)
        return values

    @property
    def tokenizer_files(self) -> tuple[Path, ...]:
        """The files of the tokenizer that was pulled."""
        return () if self.pulled_tokenizer is None else tuple(sorted(self.pulled_tokenizer.glob("*")))


@dataclass(frozen=True)
class NamedParts:
    """The names of files that a request uses in place of a checkpoint's own networks.

    Args:
        vae: The autoencoder's; None leaves the choice to Safelight.
        text_encoders: Those of text encoders.
        allow_paths: Whether they may be paths.
    """

    vae: str | None = None
    text_encoders: tuple[str, ...] = ()
    allow_paths: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing is named."""
        return not self.text_encoders and (self.vae or "").lower() in AUTOMATIC


@dataclass(frozen=True)
class Candidate:
    """A network in a file without a denoiser.

    Args:
        path: The file.
        root: The folder that was searched.
        section: The network.
    """

    path: Path
    root: Path
    section: Section


def choice_notes(parts: Iterable[PartFile]) -> tuple[str, ...]:
    """What a user has to know of a choice among several files, a sentence for each."""
    return tuple(
        f"{CHOICE_NOTE} {part.component}: {part.path.name} was taken, and not {', '.join(part.others)}."
        for part in parts
        if part.others
    )


class PartsIndex:
    """The files with autoencoders and text encoders in some folders; they are searched when first needed.

    Args:
        roots: The folders, searched at any depth.
        tokenizers: The folder of tokenizers that were pulled.
    """

    def __init__(self, roots: Sequence[Path], tokenizers: Path | None = None) -> None:
        self._roots = tuple(roots)
        self._tokenizers = tokenizers
        self._found: tuple[Candidate, ...] | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All networks, in the order of folders and names."""
        if self._found is None:
            self._found = tuple(_candidates(self._roots))
        return self._found

    def within(self, path: Path) -> PartsIndex:
        """This index for a checkpoint's file, with its own folder tree where that is not among the folders."""
        if any(path.is_relative_to(root) for root in self._roots):
            return self
        return PartsIndex((own_tree(path), *self._roots), self._tokenizers)

    def with_tokenizer(self, part: PartFile) -> PartFile:
        """A text encoder with the folder of its tokenizer, if that was pulled."""
        if self._tokenizers is None or not part.tokenizer:
            return part
        folder = self._tokenizers / part.tokenizer
        return replace(part, pulled_tokenizer=folder) if has_tokenizer(folder) else part


def own_tree(path: Path) -> Path:
    """The folder tree that a file belongs to: ComfyUI's or A1111's ``models``, or its own folder."""
    for parent in path.parents:
        if parent.name.lower() in _CONTAINERS:
            return parent.parent
    return path.parent


def _candidates(roots: Iterable[Path]) -> Iterator[Candidate]:
    seen = set()
    for root in roots:
        for path in walk_weights(root, _WEIGHTS):
            resolved = path.resolve()
            if path.is_dir() or resolved in seen:
                continue
            seen.add(resolved)
            yield from _sections_in(path, root)


def _sections_in(path: Path, root: Path) -> Iterator[Candidate]:
    try:
        contents = read_contents(path)
    except SafelightError:  # damaged, or vanished meanwhile, or a link that leads nowhere
        return
    if not contents.of_role("denoiser"):
        for section in contents.sections:
            yield Candidate(path, root, section)


def complete(
    single: SingleFile, index: PartsIndex, named: Mapping[str, PartFile] | None = None
) -> tuple[PartFile, ...]:
    """All networks of a checkpoint in a file, those of the file itself and those from elsewhere.

    Args:
        single: The file.
        index: Where other files are looked for.
        named: Networks that were chosen by name, by component.

    Raises:
        CheckpointInvalidError: A network is nowhere.
    """
    named = named or {}
    denoiser = PartFile(
        single.family.denoiser, single.layout.denoiser.name, single.path, single.denoiser.prefix
    )
    parts, missing = [denoiser], []
    index = index.within(single.path)
    for slot in single.layout.slots:
        if slot.component in named:
            parts.append(named[slot.component])
        elif slot.component in single.own:
            parts.append(_part(slot, single.own[slot.component], single.path, "own"))
        elif (found := _find(slot, single, index)) is not None:
            parts.append(found)
        elif not slot.optional:
            missing.append(slot)
    if missing:
        raise missing_error(single, tuple(missing))
    return tuple(index.with_tokenizer(part) for part in parts)


def _find(slot: Slot, single: SingleFile, index: PartsIndex) -> PartFile | None:
    """The best file for a place; None if none fits."""
    fitting = [
        candidate
        for candidate in index.candidates
        if _fits(slot, candidate.section, single.wanted.get(slot.component))
        and "tiny" not in candidate.section.kinds
        and _name_rank(slot, candidate.path) is not None
    ]
    fitting.sort(key=lambda candidate: _rank(slot, candidate, single.path))
    if not fitting:
        return None
    best, *others = fitting
    part = _part(slot, best.section, best.path, "found")
    return replace(part, others=tuple(other.path.name for other in others))


def _fits(slot: Slot, section: Section, wanted: int | None) -> bool:
    kind = any(kind in section.kinds for kind in slot.layouts)
    return kind and (wanted is None or section.width is None or section.width == wanted)


def _rank(slot: Slot, candidate: Candidate, path: Path) -> tuple[object, ...]:
    return (
        _name_rank(slot, candidate.path),
        _prefers(slot, candidate.section),
        not path.is_relative_to(candidate.root),
        -_bits(candidate.section),
        candidate.path.name,
        str(candidate.path),
    )


def _prefers(slot: Slot, section: Section) -> int:
    return slot.layouts.index(kind_in_slot(slot, section))


def _bits(section: Section) -> float:
    """Bits per weight, as it is stored."""
    known = _BITS.get(section.precision)
    return known if known is not None else 8 * section.size / max(section.elements, 1)


def _name_rank(slot: Slot, path: Path) -> int | None:
    """Whether a file's name says this family (0), nothing (1), or another (None)."""
    name = path.name.lower()
    if any(_says(name, word) for word in slot.names):
        return 0
    return None if any(_says(name, word) for word in slot.other_names) else 1


def _says(name: str, word: str) -> bool:
    """Whether a file's name has a word; one that ends with a dot is the whole name."""
    return name.startswith(word) if word.endswith(".") else word in name


def _part(slot: Slot, section: Section, path: Path, chosen: str) -> PartFile:
    kind = kind_in_slot(slot, section)
    fixed = {} if kind == "tiny" else dict(slot.config)
    class_name = slot.class_name or NETWORKS[kind].class_name
    return PartFile(
        slot.component,
        kind,
        path,
        section.prefix,
        class_name,
        json.dumps(fixed, sort_keys=True),
        chosen,
        tokenizer=slot.tokenizer,
    )


# Networks that are chosen by name


def find_part_file(name: str, index: PartsIndex, *, allow_paths: bool) -> Path:
    """The file or component folder of a name: a file's name with or without suffix, or its path in a model folder.

    Args:
        name: What the user calls it.
        index: Where it is looked for.
        allow_paths: Accept paths.

    Raises:
        PartMissingError: There is none.
    """
    wanted = name.strip()
    for candidate in index.candidates:
        inside = candidate.path.relative_to(candidate.root).as_posix()
        names = (inside, candidate.path.name, str(Path(inside).with_suffix("")), candidate.path.stem)
        if wanted.lower() in (each.lower() for each in names):
            return candidate.path
    if allow_paths and (path := _expanded(wanted)) is not None:
        return path
    near = sorted({candidate.path.name for candidate in index.candidates})[:10]
    raise PartMissingError(
        f"There is no autoencoder or text encoder {name!r} in checkpoints/ and the model_folders.",
        hint=f"These are there: {', '.join(near)}." if near else None,
    )


def has_part(name: str, index: PartsIndex) -> bool:
    """Whether there is an autoencoder or text encoder of a name in some folders."""
    try:
        find_part_file(name, index, allow_paths=False)
    except PartMissingError:
        return False
    return True


def choose_for_file(single: SingleFile, index: PartsIndex, names: NamedParts) -> dict[str, PartFile]:
    """The networks of a checkpoint in a file that a request names, by component.

    Raises:
        PartMissingError: There is no such file.
        CheckpointInvalidError: A file is not what is needed.
    """
    chosen: dict[str, PartFile] = {}
    if names.vae is not None and names.vae.lower() not in AUTOMATIC:
        path = find_part_file(names.vae, index, allow_paths=names.allow_paths)
        slots = [slot for slot in single.layout.slots if slot.component == "vae"]
        chosen["vae"] = choose(path, slots, single.wanted)
    for name in names.text_encoders:
        path = find_part_file(name, index, allow_paths=names.allow_paths)
        slots = [
            slot
            for slot in single.layout.slots
            if slot.component.startswith("text_encoder") and slot.component not in chosen
        ]
        part = choose(path, slots, single.wanted)
        chosen[part.component] = part
    return chosen


def choose_for_folder(
    folder: DiffusersFolder, family: Family, index: PartsIndex, names: NamedParts
) -> tuple[PartFile, ...]:
    """The networks of a diffusers folder that a request names.

    Raises:
        PartMissingError: There is no such file.
        CheckpointInvalidError: A file is not what is needed.
    """
    chosen: list[PartFile] = []
    if names.vae is not None and names.vae.lower() not in AUTOMATIC:
        slot, channels = vae_slot_of_folder(folder.path)
        path = find_part_file(names.vae, index, allow_paths=names.allow_paths)
        chosen.append(choose(path, [slot], {"vae": channels}))
    slots, widths = _encoder_slots_of_folder(folder, family) if names.text_encoders else ([], {})
    for name in names.text_encoders:
        path = find_part_file(name, index, allow_paths=names.allow_paths)
        taken = {part.component for part in chosen}
        free = [slot for slot in slots if slot.component not in taken]
        if not free:
            raise CheckpointInvalidError(
                f"{folder.path.name} has no place for another text encoder: {name}.",
                hint=f"It has {len(slots)} of them." if slots else "Give the denoiser as a file.",
            )
        chosen.append(index.with_tokenizer(choose(path, free, widths)))
    return tuple(chosen)


def _encoder_slots_of_folder(
    folder: DiffusersFolder, family: Family
) -> tuple[list[Slot], Mapping[str, int | None]]:
    """The places of the text encoders in a diffusers folder, and the widths that its denoiser needs."""
    layout = layout_of(family.name)
    if layout is None:
        return [], {}
    slots = [slot for slot in layout.slots if slot.component in family.text_encoders]
    files = folder.components[family.denoiser].weights
    shapes = {name: entry.shape for file in files for name, entry in read_header(file).tensors.items()}
    return slots, {slot.component: slot.wanted_width(shapes) for slot in slots}


def _expanded(name: str) -> Path | None:
    """The path that a name is; None if nothing is there."""
    try:
        path = Path(name).expanduser().absolute()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, ~ of an unknown user, U+0000
        return None


def choose(path: Path, slots: Sequence[Slot], wanted: Mapping[str, int | None]) -> PartFile:
    """Use a named file as one of a checkpoint's networks.

    Args:
        path: The file, or the folder of a component in diffusers' layout.
        slots: The places that it may take.
        wanted: The widths that fit, by component.

    Raises:
        CheckpointInvalidError: It is not the kind of network that is needed, or of another width.
    """
    file = _weights_in(path)
    contents = read_contents(file)
    sections = [section for section in contents.sections if section.role != "denoiser"]
    for slot in slots:
        for section in sections:
            if _fits(slot, section, wanted.get(slot.component)):
                return _part(slot, section, file, "named")
    needed = " or ".join(
        f"{NETWORKS[slot.layouts[0]].title}{f' of width {wide}' if (wide := wanted.get(slot.component)) else ''}"
        for slot in slots
    )
    found = ", ".join(
        f"{NETWORKS[section.kinds[0]].title}{f' of width {section.width}' if section.width else ''}"
        for section in sections
    )
    raise CheckpointInvalidError(
        f"{path.name} does not fit: the checkpoint needs {needed}.",
        hint=f"The file has {found}." if found else "safelight models show FILE says what a file holds.",
    )


def _weights_in(path: Path) -> Path:
    """The weights file of a component's folder."""
    if not path.is_dir():
        return path
    if (path / INDEX_NAME).is_file() and (path / "vae").is_dir():
        path = path / "vae"
    files = sorted(file for file in path.glob("*") if file.suffix in _WEIGHTS and "-of-" not in file.name)
    if not files:
        pickles = any(file.suffix in PICKLE_SUFFIXES for file in path.glob("*"))
        raise CheckpointInvalidError(
            f"{path} has no weights in one .safetensors file.",
            hint="Convert pickles with: safelight models convert FILE" if pickles else None,
        )
    return min(files, key=lambda file: len(file.name))


_VAE_KINDS = {
    "AutoencoderKL": ("kl", "tiny"),
    "AutoencoderTiny": ("kl", "tiny"),
    "AutoencoderKLQwenImage": ("wan",),
    "AutoencoderKLFlux2": ("flux2-vae",),
    "AutoencoderDC": ("dc",),
    "AutoencoderKLHunyuanImage": ("hunyuan-image-vae",),
    "AutoencoderKLQwenImage21": ("qwen-image-21-vae",),
}


def vae_slot_of_folder(folder: Path) -> tuple[Slot, int | None]:
    """The place of the autoencoder in a diffusers folder, and the latent channels that fit.

    Raises:
        CheckpointInvalidError: The folder's config is damaged, or of a class that no other file replaces.
    """
    config = read_json(folder / "vae" / "config.json")
    kinds = _VAE_KINDS.get(str(config.get("_class_name", "AutoencoderKL")))
    if kinds is None:
        raise CheckpointInvalidError(f"The autoencoder of {folder.name} cannot be replaced by another.")
    names = ("scaling_factor", "shift_factor", "latents_mean", "latents_std", "sample_size")
    factors = {name: config[name] for name in names if config.get(name) is not None}
    channels = config.get("latent_channels", config.get("z_dim"))
    slot = Slot(component="vae", layouts=kinds, usual_files=(), config=factors)
    return slot, channels if isinstance(channels, int) else None
