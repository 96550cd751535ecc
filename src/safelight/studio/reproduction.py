"""Reproducing a picture from its record, and comparing the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from safelight.errors import NotReproducibleError, RecordMissingError
from safelight.generation.adapters.recorded import RecordedFiles
from safelight.generation.comparison import within_tolerance
from safelight.generation.prompts.unsupported import left_out_notes
from safelight.generation.record import (
    LESS_PRECISION_NOTE,
    AdapterRef,
    ControlRef,
    PartRef,
    ReproductionRecord,
    differences,
    pixels_digest,
)
from safelight.generation.request import MASK_BACKGROUND, Hires
from safelight.images import DecodeLimits, ImageSource, decode
from safelight.images.metadata.file_metadata import read_metadata
from safelight.images.reader import read_bytes
from safelight.models.checkpoints.parts import CHOICE_NOTE
from safelight.studio.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

    from safelight.generation.request import GenerationRequest


@dataclass(frozen=True)
class Original:
    """A picture file with its record.

    Args:
        data: The file's bytes.
        record: Its reproduction record.
    """

    data: bytes
    record: ReproductionRecord

    @classmethod
    def read(cls, source: ImageSource, limits: DecodeLimits) -> Original:
        """Read a picture file.

        Raises:
            RecordMissingError, RecordInvalidError: It has no record, or an invalid one.
            FileMissingError, ImageError: It cannot be read.
        """
        data = read_bytes(source, limits.max_bytes)
        text = read_metadata(data, limits=limits).record
        if text is None:
            raise RecordMissingError("The picture carries no reproduction record.")
        return cls(data, ReproductionRecord.parse(text))

    def request(
        self,
        init: ImageSource | None,
        mask: ImageSource | None,
        limits: DecodeLimits,
        files: RecordedFiles,
        control: Sequence[ImageSource] = (),
        references: Sequence[ImageSource] = (),
    ) -> GenerationRequest:
        """The request that reproduces the picture.

        Args:
            init: The initial picture.
            mask: Its mask.
            limits: For decoding them.
            files: Finds the adapters and textual inversions.
            control: The pictures and masks of its controls, and the masks of its regions, in any order.
            references: The pictures that the model looked at, likewise.

        Raises:
            NotReproducibleError: An input picture or an adapter is missing, or is not the right one.
        """
        init_image = self._load_input("initial picture", "--init", self.record.init_image, init, limits)
        on_black = replace(limits, background=MASK_BACKGROUND)
        mask_image = self._load_input("mask", "--mask", self.record.mask, mask, on_black)
        request = self.record.to_request(
            init_image=init_image,
            mask=mask_image,
            control=self._load_control(control, limits),
            references=self._load_references(references, limits),
        )
        adapters = tuple(
            each.adapter.model_copy(update={"name": files.adapter_name(each)})
            for each in self.record.adapters
        )
        for embedding in self.record.embeddings:
            files.check_embedding(embedding)
        used = [embedding.name for embedding in self.record.embeddings]
        prompt, negative = (files.escape(text, used) for text in (request.prompt, request.negative_prompt))
        hires = request.hires
        if hires is not None and hires.prompt is not None:
            own = tuple(
                each.adapter.model_copy(update={"name": files.adapter_name(each)})
                for each in self.record.hires_adapters
            )
            hires = hires.model_copy(update={"adapters": own, "prompt": files.escape(hires.prompt, used)})
        return request.model_copy(
            update={"adapters": adapters, "prompt": prompt, "negative_prompt": negative, "hires": hires}
        )

    def _load_control(self, given: Sequence[ImageSource], limits: DecodeLimits) -> Mapping[str, Image.Image]:
        """The pictures and masks of the record's controls and regions by their digests, in whatever order.

        Raises:
            NotReproducibleError: One is missing.
        """
        found: dict[str, Image.Image] = {}
        for source in given:
            for each in (limits, replace(limits, background=MASK_BACKGROUND)):
                image = decode(source, limits=each).image
                found.setdefault(pixels_digest(np.asarray(image)), image)
        for control in self.record.control:
            for what, digest in (("picture", control.image), ("mask", control.mask)):
                if digest is not None and digest not in found:
                    raise NotReproducibleError(
                        f"It takes the {what} of the control {control.name} whose pixels have the SHA-256 "
                        f"{digest[:16]}….",
                        hint="Give it with --control FILE.",
                    )
        for number, region in enumerate(self.record.regions, 1):
            if region.mask not in found:
                raise NotReproducibleError(
                    f"It takes the mask of region {number} whose pixels have the SHA-256 {region.mask[:16]}….",
                    hint="Give it with --region FILE.",
                )
        return found

    def _load_references(
        self, given: Sequence[ImageSource], limits: DecodeLimits
    ) -> Mapping[str, Image.Image]:
        """The pictures that the model looked at by their digests, in whatever order they are given.

        Raises:
            NotReproducibleError: One is missing.
        """
        images = [decode(source, limits=limits).image for source in given]
        found = {pixels_digest(np.asarray(image)): image for image in images}
        for each in self.record.references:
            if each.image not in found:
                raise NotReproducibleError(
                    f"It takes the reference whose pixels have the SHA-256 {each.image[:16]}….",
                    hint="Give it with --reference FILE.",
                )
        return found

    @staticmethod
    def _load_input(
        description: str, flag: str, digest: str | None, given: ImageSource | None, limits: DecodeLimits
    ) -> Image.Image | None:
        """An input picture of the record, decoded and compared with the record's digest."""
        if digest is None and given is not None:
            raise NotReproducibleError(
                f"The picture was generated without any {description}.", hint=f"Leave out {flag}."
            )
        if digest is None:
            return None
        requirement = f"whose pixels have the SHA-256 {digest[:16]}…"
        if given is None:
            raise NotReproducibleError(
                f"It takes the {description} {requirement}.", hint=f"Give it with {flag} FILE."
            )
        image = decode(given, limits=limits).image
        if pixels_digest(np.asarray(image)) != digest:
            raise NotReproducibleError(
                f"This is not the {description} {requirement}.", hint=f"Give the right one with {flag} FILE."
            )
        return image


@dataclass(frozen=True)
class Reproduction:
    """A reproduced picture.

    Args:
        original: The original file.
        picture: The new picture, with the original's prompts in its record.
        data: The new file's bytes; None if the policy blocks the picture.
        differences: One sentence per difference; empty if the bytes are the same.
        within_tolerance: Whether the only difference is in the last bits of a picture that was generated in a batch,
            and no larger than batching explains. Lossy files do not show this: it is always False for them.
    """

    original: Original
    picture: Picture
    data: bytes | None
    differences: tuple[str, ...]
    within_tolerance: bool = False

    @property
    def identical(self) -> bool:
        """Whether the new file has the same bytes."""
        return not self.differences


def compare(original: Original, picture: Picture, limits: DecodeLimits) -> Reproduction:
    """Compare a reproduced picture with the original.

    Args:
        original: The original file.
        picture: The result of its request.
        limits: Limits for decoding the original.
    """
    record = original.record
    updates = {
        name: getattr(record, name) for name in ("prompt", "negative_prompt", "styles", "batched", "left_out")
    }
    updates["notes"] = _merged_notes(record, picture.record)
    for written, expanded in (
        ("prompt", "expanded_prompt"),
        ("negative_prompt", "expanded_negative_prompt"),
    ):
        # It was written with backslashes before what is to be plain text, and has nothing to expand.
        if getattr(picture.record, expanded) == getattr(picture.record, written):
            updates[expanded] = getattr(record, expanded)
    if picture.record.checkpoint.digest == record.checkpoint.digest:
        checkpoint = picture.record.checkpoint  # the same weights, under whatever name
        configs = checkpoint.configs if record.checkpoint.configs else None  # older records do not say
        parts = _with_recorded_names(checkpoint.parts, record.checkpoint.parts)
        updates["checkpoint"] = record.checkpoint.model_copy(update={"configs": configs, "parts": parts})
    if [each.digests for each in picture.record.regions] == [each.digests for each in record.regions]:
        updates["regions"] = record.regions  # with what was written before choices were made
    updates["control"] = _with_recorded_control_names(picture.record.control, record.control)
    for field in ("adapters", "hires_adapters"):
        updates[field] = _with_recorded_adapter_names(getattr(picture.record, field), getattr(record, field))
    updates["hires"] = _with_recorded_prompts(picture.record.hires, record.hires)
    for field in ("hires_checkpoint", "refiner_checkpoint"):
        new, old = getattr(picture.record, field), getattr(record, field)
        if new is not None and old is not None and new.digest == old.digest:
            updates[field] = old
    reproduced = Picture(
        picture.image,
        picture.record.model_copy(update=updates),
        picture.verdict,
        picture.seconds,
        picture.stopped_at,
        picture.memory,
    )
    file = record.file
    data = None
    if reproduced.image is not None:
        data = (
            reproduced.encode("png")
            if file is None
            else reproduced.encode(file.kind, quality=file.quality or 95, lossless=file.lossless)
        )
    if data == original.data:
        return Reproduction(original, reproduced, data, ())
    differing = differences(record.model_copy(update={"file": None}), reproduced.record)
    sentences = (*differing, _describe_pixel_difference(original, reproduced, limits))
    return Reproduction(
        original,
        reproduced,
        data,
        sentences,
        not differing and _within_tolerance(original, reproduced, limits),
    )


def _merged_notes(record: ReproductionRecord, new: ReproductionRecord) -> tuple[str, ...]:
    """The new picture's notes, with those of the original that say why it was made so, not how."""
    # What else lies in the checkpoint's folder, and how much memory there was, has no effect on the new picture.
    before = tuple(note for note in record.notes if note == LESS_PRECISION_NOTE and note not in new.notes)
    own = (note for note in new.notes if not note.startswith(CHOICE_NOTE))
    chosen = (note for note in record.notes if note.startswith(CHOICE_NOTE))
    merged = (*left_out_notes(record.left_out), *own, *before, *chosen)
    return record.notes if sorted(merged) == sorted(record.notes) else merged


def _with_recorded_names(parts: tuple[PartRef, ...], recorded: tuple[PartRef, ...]) -> tuple[PartRef, ...]:
    """The files of a checkpoint's networks, under the names that the record has for files with the same bytes."""
    names = {(part.component, part.digest): part.name for part in recorded}
    return tuple(
        part.model_copy(update={"name": names.get((part.component, part.digest), part.name)})
        for part in parts
    )


def _with_recorded_adapter_names(
    adapters: tuple[AdapterRef, ...], recorded: tuple[AdapterRef, ...]
) -> tuple[AdapterRef, ...]:
    """The adapters, under the names that the record has if they are the same files."""
    if [each.digest for each in adapters] != [each.digest for each in recorded]:
        return adapters
    pairs = zip(adapters, recorded, strict=True)
    return tuple(new.model_copy(update={"name": old.name}) for new, old in pairs)


def _with_recorded_prompts(hires: Hires | None, recorded: Hires | None) -> Hires | None:
    """A second pass with its prompts as the record has them: written again, they have backslashes before plain text."""
    if hires is None or recorded is None:
        return hires
    names = [name for name in ("prompt", "negative_prompt") if getattr(recorded, name) is not None]
    same = {
        name: getattr(recorded, name)
        for name in names
        if (getattr(hires, name) or "").replace("\\", "") == getattr(recorded, name).replace("\\", "")
    }
    return hires.model_copy(update=same)


def _with_recorded_control_names(
    controls: tuple[ControlRef, ...], recorded: tuple[ControlRef, ...]
) -> tuple[ControlRef, ...]:
    """The controls, under the names that the record has for networks with the same weights."""
    names = {each.digest: each.name for each in recorded}
    encoders = {each.encoder.digest: each.encoder for each in recorded if each.encoder is not None}
    return tuple(
        each.model_copy(
            update={
                "name": names.get(each.digest, each.name),
                "encoder": each.encoder and encoders.get(each.encoder.digest, each.encoder),
            }
        )
        for each in controls
    )


def _within_tolerance(original: Original, again: Picture, limits: DecodeLimits) -> bool:
    """Whether the original was batched and its pixels differ by no more than batching explains."""
    file = original.record.file
    lossless = file is None or file.lossless or file.kind == "png"
    if not original.record.batched or not lossless or again.image is None:
        return False
    return within_tolerance(np.asarray(decode(original.data, limits=limits).image), np.asarray(again.image))


def _describe_pixel_difference(original: Original, again: Picture, limits: DecodeLimits) -> str:
    """How the pictures themselves differ."""
    if again.image is None:
        return "The policy blocks it here."
    original_pixels = np.asarray(decode(original.data, limits=limits).image)
    new_pixels = np.asarray(again.image)
    if original_pixels.shape != new_pixels.shape:
        sizes = (f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (original_pixels, new_pixels))
        return "The picture is {} in the file and {} here.".format(*sizes)
    distance = np.abs(original_pixels.astype(int) - new_pixels.astype(int))
    if not distance.any():
        return "The pixels are the same; the file's other bytes differ."
    return f"Pixels differ by up to {distance.max()} of 255, by {distance.mean():.3f} on average."
