"""Collect the fields of a request, each validated on its own; values that do not fit are kept with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_origin

from pydantic import TypeAdapter, ValidationError

from safelight.errors import PromptError, SafelightError, SamplerIncompatibleError, SamplerUnknownError
from safelight.generation.prompts.adapter_tags import find_adapter_tags, format_adapter_tag, without_gap
from safelight.generation.prompts.unsupported import UnsupportedKind as PartKind
from safelight.generation.prompts.unsupported import escape_unsupported, find_unsupported, remove_unsupported
from safelight.generation.request import Control, GenerationRequest, Region, RequestPart
from safelight.generation.solvers.samplers import PredictionProcess, SamplerChoice, resolve_sampler
from safelight.generation.solvers.sigmas import AUTOMATIC
from safelight.images.fields import models_in
from safelight.validation import first_problem

Source = Literal["safelight", "a1111", "sdnext", "comfyui", "none"]
NESTED_FIELDS: Mapping[str, type[RequestPart]] = {
    name: part
    for name, info in GenerationRequest.model_fields.items()
    for part in models_in(info.annotation)
    if issubclass(part, RequestPart) and get_origin(info.annotation) is not tuple
}
"""Fields with nested fields."""
NO_SUCH_FIELD = "Safelight has no such field."
IMAGE_NOT_IN_FILE = "The picture that it was generated from is not in the file: add it again."
EMBEDDING_MISSING = "There is no such textual inversion here: its name is taken as a word."
ADAPTER_MISSING = "There is no such adapter here."
PROMPT_PART_LEFT_OUT = "The prompt is filled in without it: it asks for {}."
MAX_UNFILLED, MAX_VALUE_LENGTH = 100, 300
"""Limits of what is reported as not filled in: number of entries, and characters of each of their texts."""
FILE_SUFFIX = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|sft)$", re.IGNORECASE)
"""The suffix of a weights file, as other programs have it in names."""
_UNSUPPORTED_NAMES: Mapping[PartKind, str] = {
    "network": "adapter",
    "composition": "composed prompts",
}
"""Names of the kinds of unsupported prompt parts."""
_MIN_HASH_DIGITS = 10
"""Minimum number of digits: a shorter hash is A1111's old kind, which does not cover the whole file."""


_OWN_VAE = frozenset({"", "automatic", "none"})


@dataclass(frozen=True)
class KnownCheckpoint:
    """An available checkpoint.

    Args:
        name: Its name in requests.
        digest: SHA-256 of its weights; None if it was never computed.
        prediction_process: The checkpoint's kind, if its family determines it.
    """

    name: str
    digest: str | None = None
    prediction_process: PredictionProcess | None = None


@dataclass(frozen=True)
class KnownAdapter:
    """An available adapter.

    Args:
        name: Its name in requests.
        differs: Whether it has the name that was looked for, but another hash.
    """

    name: str
    differs: bool = False


FindAdapter = Callable[[str, str | None], KnownAdapter | None]
"""Finds an adapter by its hash, if one is given, or else by its name in another program."""


@dataclass(frozen=True)
class AvailableModels:
    """The checkpoints, upscalers and styles that are available on this installation.

    Args:
        checkpoints: All available checkpoints.
        resolve_upscaler: Maps another program's upscaler name to Safelight's; raises UpscalerUnknownError.
        styles: Names of the available prompt styles.
        has_part: Whether there is an autoencoder or text encoder of a name.
        has_control: Whether there is a control network of a name.
        find_adapter: Finds an adapter.
        find_embedding: Finds a textual inversion.
    """

    checkpoints: Sequence[KnownCheckpoint]
    resolve_upscaler: Callable[[str], str]
    styles: Set[str] = frozenset()
    has_part: Callable[[str], bool] = lambda _: True
    has_control: Callable[[str], bool] = lambda _: True
    find_adapter: FindAdapter = lambda _name, _hash: None
    find_embedding: FindAdapter = lambda _name, _hash: None


@dataclass(frozen=True)
class UnfilledField:
    """A value that could not be filled in.

    Args:
        name: Its name in the source.
        value: Its value in the source.
        reason: Why it was not filled in, in a sentence.
    """

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class RecallResult:
    """The result of reading metadata.

    Args:
        source: The program that wrote the metadata.
        fields: Fields of a GenerationRequest, as JSON; only those that the source names. Each of them is valid on its
            own; strength and outpaint also need an initial image, a control its own or that one, and a region its
            mask, which are never among the fields.
        infotext: The infotext that was read, if there was one.
        unfilled: The values that could not be filled in.
    """

    source: Source
    fields: Mapping[str, Any] = field(default_factory=dict)
    infotext: str | None = None
    unfilled: tuple[UnfilledField, ...] = ()


class FieldBuilder:
    """Builds the fields of a request from metadata.

    Args:
        available: The available checkpoints, upscalers and styles.
    """

    def __init__(self, available: AvailableModels) -> None:
        self.fields: dict[str, Any] = {}
        self._available = available
        self._unfilled: list[UnfilledField] = []
        self._prediction_process: PredictionProcess | None = None

    def build(self, source: Source, infotext: str | None = None) -> RecallResult:
        """Return the result."""
        text = None if infotext is None else replace_surrogates(infotext)
        return RecallResult(source, self.fields, text, tuple(self._unfilled[:MAX_UNFILLED]))

    def add_unfilled(self, name: str, value: object, reason: str) -> None:
        """Record a value that cannot be filled in."""
        if len(self._unfilled) < MAX_UNFILLED:
            self._unfilled.append(
                UnfilledField(_truncate(name), _truncate(_to_text(value)), _truncate(reason))
            )

    def set_field(self, name: str, value: object) -> None:
        """Set a field if the value is valid; nested fields are set by ``set_nested``."""
        checked = self._validate(GenerationRequest, name, value, name)
        if checked is not None:
            self.fields[name] = checked

    def set_prompts(
        self,
        prompt: object,
        negative_prompt: object,
        adapters: Sequence[Mapping[str, Any]] = (),
        hashes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Set both prompts without their unsupported parts, and record those parts.

        Args:
            prompt: The prompt, with adapters as in A1111.
            negative_prompt: The negative prompt.
            adapters: The fields of adapters that are not in the prompt; they are added to it.
            hashes: The adapters' hashes by their names in the source.
        """
        if adapters and prompt is None:
            prompt = ""
        for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            if not isinstance(text, str):
                self.set_field(name, text)
                continue
            self.set_field(name, self._supported(text, name, adapters, hashes))

    def _supported(
        self, text: str, name: str, adapters: Sequence[Mapping[str, Any]], hashes: Mapping[str, str]
    ) -> str:
        """A prompt without its unsupported parts, which are recorded, and with the adapters that are here."""
        negative = name == "negative_prompt"
        left = remove_unsupported(text, negative=negative)
        left = left if negative else self._with_adapters(left, adapters, hashes)
        for part in {part.text: part for part in find_unsupported(text, negative=negative)}.values():
            self.add_unfilled(
                _UNSUPPORTED_NAMES[part.kind], part.text, PROMPT_PART_LEFT_OUT.format(part.reason)
            )
        return left

    def check_embedding(self, name: str, digits: str | None) -> None:
        """Record a textual inversion that the prompts name, if it is not here."""
        found = self._available.find_embedding(name, digits)
        if found is None or found.name.casefold() != name.casefold():
            here = "" if found is None else f" It is called {found.name} here."
            self.add_unfilled("textual inversion", name, f"{EMBEDDING_MISSING}{here}")
        elif found.differs:
            reason = f"{found.name}, which has this name here, is another file."
            self.add_unfilled("textual inversion's hash", f"{name}: {digits}", reason)

    def _with_adapters(
        self, prompt: str, added: Sequence[Mapping[str, Any]], hashes: Mapping[str, str]
    ) -> str:
        """A prompt with the adapters that are here, under their names here."""
        try:
            tags = find_adapter_tags(prompt)
        except PromptError as error:
            self.add_unfilled("adapter", prompt, error.message)
            return escape_unsupported(prompt)
        text = prompt
        for tag in reversed(tags):
            before, after = text[: tag.start], text[tag.end :]
            here = self._adapter_tag(tag.fields, hashes, tag.text)
            text = f"{before}{here}{after}" if here else without_gap(before, after)
        found = (self._adapter_tag(fields, hashes) for fields in added)
        return " ".join(filter(None, [text, *found]))

    def _adapter_tag(
        self, fields: Mapping[str, Any], hashes: Mapping[str, str], written: str | None = None
    ) -> str:
        """The tag of an adapter, with its name here; empty, and recorded, where there is none."""
        name, tag = str(fields["name"]), written or format_adapter_tag(fields)
        found = self._available.find_adapter(name, hashes.get(name))
        if found is None:
            self.add_unfilled("adapter", tag, ADAPTER_MISSING)
            return ""
        if found.differs:
            reason = f"{found.name}, which has this name here, is another file."
            self.add_unfilled("adapter's hash", f"{name}: {hashes[name]}", reason)
        return tag if found.name == name else format_adapter_tag({**fields, "name": found.name})

    def set_nested(self, name: str, values: Mapping[str, Any]) -> None:
        """Set variation, inpaint, outpaint or hires, with the nested fields that are valid."""
        model, good = NESTED_FIELDS[name], {}
        for key, value in values.items():
            found = self._validate(model, key, value, f"{name}.{key}")
            if found is not None:
                good[key] = found
        try:
            self.fields[name] = model(**good).model_dump(mode="json", exclude_unset=True)
        except ValidationError as error:
            self.add_unfilled(name, values, f"{first_problem(error)}.")

    def set_hires(
        self,
        values: Mapping[str, Any],
        adapters: Sequence[Mapping[str, Any]] = (),
        hashes: Mapping[str, str] = MappingProxyType({}),
        checkpoint: tuple[str, str | None] | None = None,
    ) -> None:
        """Set the hires pass; its upscaler and sampler may have other programs' names.

        Args:
            values: Its fields.
            adapters: The fields of adapters that are not in its prompt; they are added to it.
            hashes: The adapters' hashes by their names in the source.
            checkpoint: Name and digest of its checkpoint; None without one of its own.
        """
        known = {key: value for key, value in values.items() if key not in ("adapters", "checkpoint")}
        for key in ("prompt", "negative_prompt"):
            if isinstance(text := known.get(key), str):
                known[key] = self._supported(text, key, adapters, hashes)
        if checkpoint is not None and (found := self._checkpoint("hires.checkpoint", *checkpoint)):
            known["checkpoint"] = found.name
        for key, look_up in (
            ("upscaler", self._available.resolve_upscaler),
            ("sampler", self._resolve_hires_sampler),
        ):
            if isinstance(given := known.pop(key, None), str):
                try:
                    known[key] = look_up(given)
                except SafelightError as error:
                    self.add_unfilled(f"hires.{key}", given, error.message)
            elif given is not None:
                self.add_unfilled(f"hires.{key}", given, "It has to be a name.")
        self.set_nested("hires", known)

    def set_refiner(self, values: Mapping[str, Any], checkpoint: tuple[str, str | None]) -> None:
        """Set the refiner, if its checkpoint is available.

        Args:
            values: Its other fields.
            checkpoint: Its name and its digest.
        """
        if (found := self._checkpoint("refiner.checkpoint", *checkpoint)) is not None:
            self.set_nested("refiner", {**values, "checkpoint": found.name})

    def set_sampler(self, name: object, schedule: object = None) -> None:
        """Set sampler and schedule from any program's names; call it after the checkpoint, whose kind matters."""
        choice = self._try_resolve("sampler", name)
        if choice is not None:
            self.fields["sampler"] = choice.sampler.name
        if isinstance(schedule, str) and schedule.lower() != AUTOMATIC:
            on = choice.sampler.name if choice is not None else "Euler"
            choice = self._try_resolve("schedule", schedule, sampler=on)
        if choice is not None and choice.schedule != AUTOMATIC:
            self.fields["schedule"] = choice.schedule

    def set_styles(self, names: object) -> None:
        """Set the prompt styles that are available."""
        given = names if isinstance(names, list | tuple) else [names]
        here: list[str] = []
        for name in given:
            if isinstance(name, str) and name in self._available.styles:
                here.append(name)
            else:
                self.add_unfilled("styles", name, "There is no such style here.")
        if here:
            self.set_field("styles", here)

    def set_vae(self, name: object) -> None:
        """Set the autoencoder if it is available; "Automatic" and "None" are the checkpoint's own."""
        if not isinstance(name, str) or name.lower() in _OWN_VAE:
            return
        if self._available.has_part(name):
            self.set_field("vae", name)
        else:
            self.add_unfilled("vae", name, "There is no such autoencoder here.")

    def set_text_encoders(self, names: object) -> None:
        """Set the text encoders that are available."""
        given = [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
        for name in given:
            if not self._available.has_part(name):
                self.add_unfilled("text_encoders", name, "There is no such text encoder here.")
        if here := [name for name in given if self._available.has_part(name)]:
            self.set_field("text_encoders", here)

    def add_control(self, number: int, given: Mapping[str, Any]) -> None:
        """Add a control with the values that are valid; its pictures are not in the file.

        Args:
            number: Its number in the source.
            given: Fields of a ``request.Control``.
        """
        name, good = f"control[{number}]", {}
        for key, value in given.items():
            if key in ("image", "mask"):
                if value is not None:
                    self.add_unfilled(f"{name}.{key}", value, IMAGE_NOT_IN_FILE)
            elif (found := self._validate(Control, key, value, f"{name}.{key}")) is not None:
                good[key] = found
        model = good.get("model")
        if model is not None and not self._available.has_control(model):
            self.add_unfilled(f"{name}.model", model, "There is no such control here.")
            del good["model"]
        try:
            Control(**good)
        except ValidationError as error:
            self.add_unfilled(name, given, f"{first_problem(error)}.")
            return
        self.fields["control"] = [*self.fields.get("control", []), good]

    def add_region(self, number: int, given: object) -> None:
        """Add a region with the values that are valid; its mask is not in the file.

        Args:
            number: Its number in the source.
            given: Fields of a ``request.Region``, without the mask.
        """
        name, good = f"regions[{number}]", {}
        if not isinstance(given, Mapping):
            self.add_unfilled(name, given, "It has fields of its own.")
            return
        for key, value in given.items():
            if (found := self._validate(Region, key, value, f"{name}.{key}")) is not None:
                good[key] = found
        if "prompt" not in good:
            self.add_unfilled(name, given, "It has no prompt.")
            return
        self.add_unfilled(f"{name}.mask", "", "The mask is not in the file: add it again.")
        self.fields["regions"] = [*self.fields.get("regions", []), good]

    def set_checkpoint(self, name: object, digest: str | None = None) -> None:
        """Set the checkpoint if it is available, found by its hash or else by its name.

        Args:
            name: The checkpoint's name in the source.
            digest: SHA-256 of its weights, or the first digits of it.
        """
        found = self._checkpoint("checkpoint", name if isinstance(name, str) else "", digest)
        if found is not None:
            self.fields["checkpoint"], self._prediction_process = found.name, found.prediction_process

    def _checkpoint(self, field: str, name: str, digest: str | None) -> KnownCheckpoint | None:
        """A checkpoint that is here; if it is not, or is another one, that is recorded."""
        found = self._by_digest(digest) or self._by_name(name)
        if found is None:
            if said := name or digest:
                self.add_unfilled(field, said, "There is no such checkpoint here.")
            return None
        others = digest is not None and len(digest) >= _MIN_HASH_DIGITS and found.digest is not None
        if others and not str(found.digest).startswith(str(digest).lower()):
            reason = f"{found.name}, which has this name here, has other weights."
            self.add_unfilled(f"{field}'s hash", digest, reason)
        return found

    def _by_digest(self, digest: str | None) -> KnownCheckpoint | None:
        start = (digest or "").lower()
        same = (each for each in self._available.checkpoints if (each.digest or "").startswith(start))
        return next(same, None) if len(start) >= _MIN_HASH_DIGITS else None

    def _by_name(self, name: str) -> KnownCheckpoint | None:
        """Find a checkpoint by name; a name without its folder matches only if it is unambiguous."""
        wanted = _normalize_name(name)
        exact = [each for each in self._available.checkpoints if _normalize_name(each.name) == wanted]
        last = wanted.rpartition("/")[2]
        close = [
            each
            for each in self._available.checkpoints
            if _normalize_name(each.name).rpartition("/")[2] == last
        ]
        found = exact or close
        return found[0] if wanted and len(found) == 1 else None

    def _resolve_hires_sampler(self, name: str) -> str:
        choice = self._resolve(name, None)
        schedule = "" if choice.schedule == AUTOMATIC else f" {choice.schedule}"
        return f"{choice.sampler.name}{schedule}"

    def _try_resolve(self, name: str, value: object, sampler: str | None = None) -> SamplerChoice | None:
        """Resolve a sampler, or a schedule of a given sampler; None if that fails, which is recorded."""
        if not isinstance(value, str):
            if value is not None:
                self.add_unfilled(name, value, "It has to be a name.")
            return None
        try:
            return self._resolve(value, None) if sampler is None else self._resolve(sampler, value)
        except SafelightError as error:
            self.add_unfilled(name, value, error.message)
            return None

    def _resolve(self, sampler: str, schedule: str | None) -> SamplerChoice:
        """Resolve a sampler for the checkpoint's kind, or for any kind if that is unknown."""
        kinds = list(PredictionProcess) if self._prediction_process is None else [self._prediction_process]
        if self._prediction_process is PredictionProcess.DIFFUSION:
            kinds.append(PredictionProcess.EDM)  # families do not distinguish it from diffusion
        problems: list[SafelightError] = []
        for kind in kinds:
            try:
                return resolve_sampler(sampler, schedule, kind)
            except (SamplerIncompatibleError, SamplerUnknownError) as error:
                problems.append(error)
        raise problems[0]

    def _validate(self, model: type[RequestPart], key: str, value: object, name: str) -> Any:
        """Validate a value and return it as JSON; None if it is missing or invalid, which is recorded."""
        if value is None:
            return None
        if key not in model.model_fields:
            self.add_unfilled(name, value, NO_SUCH_FIELD)
            return None
        adapter = _field_adapter(model, key)
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json")
        except ValidationError as error:
            self.add_unfilled(name, value, f"{first_problem(error)}.")
            return None


def replace_surrogates(text: str) -> str:
    """Return text that can be encoded: a lone surrogate, which JSON may contain escaped, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


@cache
def _field_adapter(model: type[RequestPart], key: str) -> TypeAdapter[Any]:
    """Return a type adapter that validates one field of a model."""
    info = model.model_fields[key]
    return TypeAdapter(Annotated[info.annotation, info])  # type: ignore[arg-type]  # known only at run time


def _normalize_name(name: str) -> str:
    return FILE_SUFFIX.sub("", name.strip().replace("\\", "/")).casefold()


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _truncate(text: str) -> str:
    text = replace_surrogates(text[: MAX_VALUE_LENGTH + 1])
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
