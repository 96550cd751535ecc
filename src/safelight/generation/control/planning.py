"""Which network reads each control picture of a request: found and checked before any weights are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safelight.errors import (
    ControlFamilyError,
    FieldMissingError,
    NotAChoiceError,
    SafelightError,
    UnsupportedError,
)
from safelight.generation.control.preprocessors import find_preprocessor
from safelight.generation.request import Control
from safelight.models.controls.discovery import REFERENCE, ControlModel, find_control
from safelight.models.controls.image_encoders import ImageEncoder, find_image_encoder
from safelight.models.controls.kinds import KINDS, ControlKind, parse_kind
from safelight.models.families import Family

NETWORK_PREFIX = "control-"
"""What the names of control networks among those of a run begin with."""


@dataclass(frozen=True)
class PlannedControl:
    """A control of a request with its network.

    Args:
        index: Its place in the request.
        options: What was asked for.
        model: The network.
        kind: What its picture shows; None where nothing says it, and the network does not need to know.
        digest: SHA-256 of the network's weights; None for a kind that needs no network.
        encoder: The image encoder of an IP-Adapter.
        encoder_digest: SHA-256 of its weights.
    """

    index: int
    options: Control
    model: ControlModel
    kind: ControlKind | None
    digest: str | None
    encoder: ImageEncoder | None = None
    encoder_digest: str = ""

    @property
    def name(self) -> str:
        """What its network is called among those of a run."""
        return f"{NETWORK_PREFIX}{self.index}"

    @property
    def encoder_name(self) -> str:
        """What its image encoder is called among them."""
        return f"image-encoder-{self.index}"

    @property
    def has_effect(self) -> bool:
        """Whether it can change the picture at all."""
        return self.options.weight > 0 and self.options.start < self.options.end

    @property
    def mode_number(self) -> int | None:
        """The number of its kind in a network for several kinds; None for others."""
        modes = self.model.architecture.modes(self.model.name)
        return modes.get(self.kind) if self.kind is not None else None


def plan_controls(
    controls: Sequence[Control], family: Family, folders: Sequence[Path], cache: Path
) -> tuple[PlannedControl, ...]:
    """Find and check the networks of a request's controls, and their preprocessors.

    Args:
        controls: The controls.
        family: The checkpoint's family.
        folders: Where networks are looked for.
        cache: The cache folder, which keeps digests.

    Raises:
        ControlMissingError, ControlFamilyError: There is no such network, or it is for other checkpoints.
        ImageEncoderMissingError: There is no image encoder for an IP-Adapter.
        ModelError: Its file cannot be used.
        RequestError: A value does not fit the network; there is no such preprocessor.
    """
    planned = []
    for index, options in enumerate(controls):
        try:
            planned.append(_plan(index, options, family, folders, cache))
        except SafelightError as error:
            error.field = f"control.{index}.{_within(error.field or 'model')}"
            raise
    return tuple(planned)


def count_weights(
    names: Iterable[str],
    family: Family,
    folders: Sequence[Path],
    networks: Callable[[], Mapping[str, Any]],
) -> int:
    """How many weights the networks of some controls have together, each counted once; none is loaded.

    Those of the image encoders of IP-Adapters are counted too.

    Args:
        names: The kinds of their pictures, or the names of their networks.
        family: The checkpoint's family.
        folders: Where networks are looked for.
        networks: Returns the checkpoint's networks without weights.

    Raises:
        ControlMissingError, ControlFamilyError: There is no such network, or it is for other checkpoints.
        ModelError: Its file cannot be used.
    """
    from safelight.models.controls import loading

    models = []
    for name in names:
        kind = next((each for each in KINDS if each == parse_kind(name)), None)
        if kind != "reference":
            models.append(find_control(None if kind else name, kind, family, folders))
    different = {model.path: model for model in models}.values()
    found = [model for model in different if model.architecture.is_ip_adapter]
    encoders = {find_image_encoder(model.ip_adapter().encoder, model.path, folders) for model in found}
    return sum(each.weights() for each in encoders) + sum(
        loading.count_weights(model, lambda: networks()["unet"]) for model in different
    )


def has_reference(family: Family) -> bool:
    """Whether a family's denoiser can look at a picture itself, without a network."""
    return family.denoiser == "unet" and family.prediction_process == "diffusion"


def _within(field: str) -> str:
    return "model" if field == "control" else field


def _plan(
    index: int, options: Control, family: Family, folders: Sequence[Path], cache: Path
) -> PlannedControl:
    if options.kind == "reference":
        _check_reference(options, family)
        return PlannedControl(index, options, REFERENCE, "reference", None)
    model = find_control(options.model, options.kind, family, folders)
    if model.architecture.is_ip_adapter:
        return _plan_ip_adapter(index, options, model, family, folders, cache)
    if options.kind == "ip-adapter":
        raise NotAChoiceError(
            f"{model.name} is {model.architecture.title}, and no IP-Adapter.",
            hint="Leave out the kind, or give the model of an IP-Adapter.",
            field="kind",
        )
    modes = model.architecture.modes(model.name)
    kind = options.kind or (model.kinds[0] if len(model.kinds) == 1 else None)
    if modes:
        _check_mode(model, modes, kind)
    if options.mode != "balanced" and family.denoiser != "unet":
        raise UnsupportedError(
            f"{family.title} has no control mode {options.mode!r}, which is for U-Nets.",
            hint="Leave it balanced, or lower the weight.",
            field="mode",
        )
    if model.architecture.name == "controlnet-xs":
        _check_fused(options)
    if options.preprocessor is not None:
        try:
            find_preprocessor(options.preprocessor.name).parse(options.preprocessor.parameters)
        except SafelightError as error:
            known = error.field if error.field.startswith("parameters") else "name"
            error.field = f"preprocessor.{known}"
            raise
    return PlannedControl(index, options, model, kind, model.digest(cache))


def _check_fused(options: Control) -> None:
    if options.mode != "balanced":
        raise UnsupportedError(
            f"A ControlNet-XS has no control mode {options.mode!r}.", hint="Leave it balanced.", field="mode"
        )
    if options.mask is not None:
        raise UnsupportedError("A ControlNet-XS counts everywhere.", hint="Leave out its mask.", field="mask")


def _plan_ip_adapter(
    index: int, options: Control, model: ControlModel, family: Family, folders: Sequence[Path], cache: Path
) -> PlannedControl:
    if model.architecture.name == "ip-adapter" and family.denoiser != "unet":
        raise ControlFamilyError(f"{model.name} is for U-Nets, and the checkpoint is {family.title}.")
    if options.kind not in (None, "ip-adapter"):
        raise NotAChoiceError(
            f"{model.name} is an IP-Adapter, and none for the kind {options.kind}.",
            hint="Leave out the kind.",
            field="kind",
        )
    if options.preprocessor is not None:
        raise UnsupportedError(
            "An IP-Adapter looks at the picture itself.",
            hint="Leave out the preprocessor.",
            field="preprocessor",
        )
    if options.mode != "balanced":
        raise UnsupportedError(
            "An IP-Adapter has no control mode.", hint="Leave it balanced, or lower the weight.", field="mode"
        )
    encoder = find_image_encoder(model.ip_adapter().encoder, model.path, folders)
    return PlannedControl(
        index, options, model, "ip-adapter", model.digest(cache), encoder, encoder.digest(cache)
    )


def _check_reference(options: Control, family: Family) -> None:
    if options.model is not None:
        raise UnsupportedError("A reference needs no model.", hint="Leave out the model.", field="model")
    if not has_reference(family):
        raise UnsupportedError(
            f"{family.title} has no reference, which is for U-Nets.", hint="Leave it out.", field="kind"
        )
    if options.mask is not None:
        raise UnsupportedError("A reference counts everywhere.", hint="Leave out its mask.", field="mask")


def _check_mode(model: ControlModel, modes: Mapping[ControlKind, int], kind: ControlKind | None) -> None:
    choices = ", ".join(modes)
    if kind is None:
        raise FieldMissingError(
            f"{model.name} is for several kinds of pictures.", hint=f"Say which: {choices}.", field="kind"
        )
    if kind not in modes:
        raise NotAChoiceError(
            f"{model.name} does not know the kind {kind}.",
            hint=f"It knows {choices}.",
            field="kind",
            context={"choices": list(modes)},
        )
