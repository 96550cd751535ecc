"""Identify a checkpoint in one weights file: its family and variant, and which networks it lacks.

The file's content decides (``sections``, ``layouts``). Variants that differ in their weights alone are told by what the
makers wrote into the file, and only then by its name. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from safelight.errors import CheckpointFamilyError, CheckpointInvalidError, ModelError
from safelight.models.checkpoints.layouts import NETWORKS, FamilyLayout, Slot
from safelight.models.checkpoints.layouts.layout import Config
from safelight.models.checkpoints.safetensors_header import Header, read_header
from safelight.models.checkpoints.sections import (
    FileContents,
    Section,
    families_of,
    read_contents,
    shapes_of,
)
from safelight.models.checkpoints.small_tensors import read_numbers
from safelight.models.digests import FileVersion, file_version
from safelight.models.families import FAMILIES, Family
from safelight.models.inventory.file_kinds import identify

Prediction = Literal["epsilon", "v_prediction"]
_EDM_VELOCITY = "edm_vpred.sigma_max"
"""The key that marks a U-Net that predicts velocity at EDM's noise levels."""


@dataclass(frozen=True)
class SingleFile:
    """A file with a denoiser, as its header tells.

    Args:
        path: The file.
        family: Its family.
        layout: How files of the family are laid out.
        denoiser: The denoiser.
        own: The other networks in the file by their names in a pipeline.
        wanted: The slots of the networks that it lacks, each with the width that fits; optional ones are among them.
        prediction: What a U-Net predicts; None if the file does not state it and both are common (Stable
            Diffusion 2), and for all other networks.
        zero_snr: The model was trained with zero terminal signal-to-noise ratio.
        edm: The least and the highest noise level, if the file says that it was trained with EDM's (CosXL).
    """

    path: Path
    family: Family
    layout: FamilyLayout
    denoiser: Section
    own: Mapping[str, Section]
    wanted: Mapping[str, int | None]
    prediction: Prediction | None
    zero_snr: bool
    edm: tuple[float, float] | None = None

    @property
    def missing(self) -> tuple[Slot, ...]:
        """The networks that it lacks."""
        return tuple(slot for slot in self.layout.slots if slot.component not in self.own)

    def slot(self, component: str) -> Slot | None:
        """The place of a network."""
        return next((slot for slot in self.layout.slots if slot.component == component), None)


def identify_single_file(path: Path) -> SingleFile:
    """Identify a file with a denoiser; its header is read once until the file changes.

    Raises:
        CheckpointInvalidError: The file is damaged.
        CheckpointFamilyError: It holds no denoiser, or one that Safelight has no pipeline for.
        PickleRefusedError, FileMissingError: The file is a pickle; it cannot be read.
    """
    found = _identify(path, file_version(path))
    if isinstance(found, Problem):
        raise found.error()
    return found


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file; not the error itself, which would keep the header in memory by its traceback."""

    kind: type[ModelError]
    message: str
    hint: str | None

    @classmethod
    def of(cls, error: ModelError) -> Problem:
        """What an error says."""
        return cls(type(error), error.message, error.hint)

    def error(self) -> ModelError:
        """The error."""
        return self.kind(self.message, hint=self.hint)


@lru_cache(maxsize=10_000)
def _identify(path: Path, _: FileVersion) -> SingleFile | Problem:
    try:
        return _identify_contents(path, read_contents(path), read_header(path))
    except ModelError as error:
        return Problem.of(error)


def _identify_contents(path: Path, contents: FileContents, header: Header) -> SingleFile:
    denoisers = contents.of_role("denoiser")
    if not denoisers:
        raise _other_file_error(path, header)
    denoiser = max(denoisers, key=lambda section: section.size)
    layout = min(families_of(denoiser), key=lambda family: _misfit(family, contents))
    loose = {name: header.tensors[name].shape for name in contents.loose}
    shapes = loose | dict(shapes_of(header.tensors, denoiser.prefix))
    variant = layout.variant(shapes, header.metadata, path.stem)
    if variant not in FAMILIES:
        raise CheckpointFamilyError(
            f"{path} is a model of the kind {variant}, for which Safelight has no pipeline."
        )
    layout = _layout_of_variant(layout, variant, denoiser)
    numbers = read_numbers(path, header, _TRAINING_NUMBERS)
    layout = _with_latent_statistics(layout, numbers)
    own = _assign(layout, contents)
    prediction, zero_snr = _detect_prediction(layout, contents, header)
    return SingleFile(
        path=path,
        family=FAMILIES[variant],
        layout=layout,
        denoiser=replace(denoiser, kinds=(layout.denoiser.name,)),
        own=own,
        wanted={slot.component: slot.wanted_width(shapes) for slot in layout.slots},
        prediction=prediction,
        zero_snr=zero_snr,
        edm=_edm_levels(contents, numbers),
    )


_TRAINING_NUMBERS = ("edm_mean", "edm_std", "edm_vpred.sigma_min", "edm_vpred.sigma_max")
"""Tensors that are no network's: Playground 2.5's statistics of latents, and CosXL's noise levels."""


def _with_latent_statistics(layout: FamilyLayout, numbers: Mapping[str, tuple[float, ...]]) -> FamilyLayout:
    """The layout with the mean and deviation of latents that a file states, as Playground 2.5's does."""
    if "edm_mean" not in numbers or "edm_std" not in numbers:
        return layout
    known: Config = {
        "latents_mean": list(numbers["edm_mean"]),
        "latents_std": list(numbers["edm_std"]),
        "scaling_factor": 0.5,  # diffusers' PLAYGROUND_VAE_SCALING_FACTOR
    }
    slots = tuple(
        replace(slot, config={**slot.config, **known}) if slot.component == "vae" else slot
        for slot in layout.slots
    )
    return replace(layout, slots=slots)


def _edm_levels(
    contents: FileContents, numbers: Mapping[str, tuple[float, ...]]
) -> tuple[float, float] | None:
    if _EDM_VELOCITY not in contents.loose:
        return None
    least, highest = numbers.get("edm_vpred.sigma_min", ()), numbers.get(_EDM_VELOCITY, ())
    return (least[0] if least else 0.002), (highest[0] if highest else 120.0)


def _misfit(family: FamilyLayout, contents: FileContents) -> tuple[int, int]:
    """How badly a file's text encoders fit a family: those that it lacks, and those that are too many."""
    encoders = contents.of_role("text encoder")
    if not encoders:
        return 0, 0
    own = _assign(family, contents)
    required = [slot for slot in family.slots if slot.component != "vae" and not slot.optional]
    used = [component for component in own if component != "vae"]
    return sum(slot.component not in own for slot in required), len(encoders) - len(used)


def _layout_of_variant(layout: FamilyLayout, variant: str, denoiser: Section) -> FamilyLayout:
    """The layout of a variant that has one of its own under its own name (PixArt-alpha and sigma)."""
    named = (family for family in families_of(denoiser) if family.denoiser.name == variant)
    return next(named, layout)


def _assign(layout: FamilyLayout, contents: FileContents) -> dict[str, Section]:
    """Which of a file's networks goes where: by its kind, and where several fit, by the words in its prefix."""
    free = [section for section in contents.sections if section.role != "denoiser"]
    own: dict[str, Section] = {}
    for slot in layout.slots:
        fitting = [
            section
            for section in free
            if any(kind in section.kinds for kind in slot.layouts) and _admits(slot, section)
        ]
        if not fitting:
            continue
        best = min(fitting, key=lambda section: _prefix_rank(slot, section))
        free.remove(best)
        own[slot.component] = best
    return own


def _admits(slot: Slot, section: Section) -> bool:
    """Whether a slot takes a section by its prefix: the original code's prefixes say which encoder it is."""
    if not section.prefix.startswith(("conditioner.", "cond_stage_model.")):
        return True
    return any("." in word and word in section.prefix for word in slot.prefixes)


def _prefix_rank(slot: Slot, section: Section) -> tuple[bool, int]:
    kinds = [slot.layouts.index(kind) for kind in section.kinds if kind in slot.layouts]
    prefix = section.prefix.strip(".")
    segment = prefix.removeprefix("text_encoders.").partition(".")[0]
    components = [word for word in slot.prefixes if word.startswith("text_encoder")]
    others = tuple(word for word in slot.prefixes if word not in components)
    named = segment in components or segment.startswith(others)
    within = any("." in word and word in prefix for word in slot.prefixes)
    return not (named or within), min(kinds)


def kind_in_slot(slot: Slot, section: Section) -> str:
    """Which of the kinds that a section may be a slot takes."""
    return next(kind for kind in slot.layouts if kind in section.kinds)


def _detect_prediction(
    layout: FamilyLayout, contents: FileContents, header: Header
) -> tuple[Prediction | None, bool]:
    """What a U-Net predicts, by the marker key of v-prediction fine-tunes or Stability AI's model specification."""
    if layout.denoiser.class_name != "UNet2DConditionModel":
        return None, False
    declared = header.metadata.get("modelspec.prediction_type", "").lower()
    zero_snr = "ztsnr" in contents.loose
    if not contents.loose.isdisjoint(("v_pred", _EDM_VELOCITY)) or declared in ("v", "v_prediction"):
        return "v_prediction", zero_snr
    unknown = layout.denoiser.name == "sd2" and declared != "epsilon"
    return None if unknown else "epsilon", zero_snr


def _other_file_error(path: Path, header: Header) -> ModelError:
    """What a file without a known denoiser is."""
    found = identify(header)
    hint = "A checkpoint has a U-Net or a transformer; safelight models show FILE says what a file holds."
    if found.kind in ("denoiser", "checkpoint"):
        return CheckpointFamilyError(
            f"{path} is a checkpoint of {found.family or 'a family'}, which Safelight does not open as a file.",
            hint="Give it as a diffusers folder, if its family is among those of safelight models families.",
        )
    if found.kind == "unknown":
        return CheckpointFamilyError(f"{path} holds no checkpoint that is known.", hint=hint)
    article = "an" if found.kind[0] in "aeiIL" and found.kind != "LoRA" else "a"
    return CheckpointFamilyError(f"{path} is {article} {found.kind}, not a whole checkpoint.", hint=hint)


def missing_error(single: SingleFile, slots: tuple[Slot, ...]) -> CheckpointInvalidError:
    """The error of a checkpoint whose networks are nowhere."""
    names = " and ".join(_describe(single, slot) for slot in slots)
    return CheckpointInvalidError(
        f"{single.path} lacks {names}.",
        hint="Put what is missing into checkpoints/ or one of the model_folders, under any name: "
        "files are recognized by content.",
    )


def _describe(single: SingleFile, slot: Slot) -> str:
    """What a network is called, with the width that fits."""
    title = NETWORKS[slot.layouts[0]].title.removeprefix("an ").removeprefix("a ")
    width = single.wanted.get(slot.component)
    if slot.component == "vae":
        channels = f"{width} latent channels; " if width else ""
        return f"the autoencoder ({channels}usually {slot.usual_files[0]})"
    sized = f"{title} of width {width}" if width else title
    return f"the {sized} ({slot.component}; usually {slot.usual_files[0]})"
