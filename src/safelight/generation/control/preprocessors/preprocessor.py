"""What a preprocessor is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from safelight.errors import (
    ImageArrayError,
    ImageZeroSizeError,
    PluginInvalidError,
    PreprocessorUnknownError,
    RunStoppedError,
    field_error,
)
from safelight.generation.control.preprocessors.resolution import at_resolution
from safelight.plugins import Registry
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings
from safelight.validation import first_problem

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""


class Parameters(BaseModel):
    """The parameters of a preprocessor, each with a range, a default and a description; a base for those of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class PreprocessContext:
    """What preprocessors need beside the picture.

    Args:
        settings: Where models are, and the device that they run on.
        pool: Where networks are kept, within the memory budget; without one, a network is loaded for each picture.
        should_stop: Called between parts of the work; True stops it.
    """

    settings: Settings
    pool: ModelPool | None = None
    should_stop: Callable[[], bool] | None = None

    def check_not_stopped(self) -> None:
        """Check that the work was not cancelled.

        Raises:
            RunStoppedError: ``should_stop`` returned True.
        """
        if self.should_stop is not None and self.should_stop():
            raise RunStoppedError("The preprocessing was stopped before it was done.")


def _always(_: Settings) -> bool:
    return True


Function = Callable[[Pixels, Any, PreprocessContext], NDArray[np.uint8]]
"""From a picture, its parameters and the context to uint8 [height, width] or [height, width, 3] of the same size."""


@dataclass(frozen=True)
class Preprocessor:
    """A preprocessor. The same picture and parameters give the same result.

    Args:
        name: Its name in requests.
        title: Its name for people.
        description: What its result shows, in one sentence.
        control_type: A1111's group of control models that its result steers, such as "Canny".
        parameters: The model of its parameters.
        function: What computes it.
        aliases: The names by which A1111's and SD.Next's clients ask for the same; upper and lower case are equal.
        sliders: The parameters that A1111's ``threshold_a`` and ``threshold_b`` mean, in this order.
        extra: The optional extra of Safelight that has its weights; empty: it needs none.
        available: Whether the weights that it needs are on this machine.
        uses_torch: Whether it imports torch, and so runs in workers and not in the server's own process.
        bytes_per_pixel: Memory that it takes at most for each pixel, in bytes.
    """

    name: str
    title: str
    description: str
    control_type: str
    parameters: type[Parameters]
    function: Function
    aliases: tuple[str, ...] = ()
    sliders: tuple[str, ...] = ()
    extra: str = ""
    available: Callable[[Settings], bool] = _always
    uses_torch: bool = False
    bytes_per_pixel: int = 96

    def to_dict(self, settings: Settings) -> dict[str, Any]:
        """The preprocessor for JSON output."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "control_type": self.control_type,
            "aliases": list(self.aliases),
            "available": self.available(settings),
            "extra": self.extra,
            "runs_in_worker": self.uses_torch,
            "parameters": [_describe(name, each) for name, each in self.parameters.model_fields.items()],
        }

    def parse(self, parameters: Mapping[str, Any]) -> Parameters:
        """Check parameters; those that are not given get their defaults.

        Raises:
            FieldError: One is unknown, of the wrong type or out of range; its field is ``parameters.NAME``.
        """
        try:
            return self.parameters.model_validate(dict(parameters))
        except ValidationError as error:
            problem = first_problem(error)
            found = field_error(problem, f"The preprocessor {self.name}: {problem}.")
            found.field = f"parameters.{found.field}" if found.field else "parameters"
            known = ", ".join(self.parameters.model_fields)
            found.hint = f"Its parameters are {known}." if known else "It has no parameters."
            raise found from error

    def run(
        self,
        image: Image.Image,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        *,
        resolution: int | None = None,
        context: PreprocessContext,
    ) -> Image.Image:
        """Preprocess a picture.

        Args:
            image: Mode RGB, upright.
            parameters: By name; see ``parameters``.
            resolution: The result's shorter side, in pixels; None: as large as the picture, or
                ``resolution.MAX_PIXELS`` if that is less.
            context: Settings, networks, and whether to stop.

        Returns:
            Mode RGB.

        Raises:
            FieldError: A parameter or the resolution cannot be used.
            ImageArrayError, ImageZeroSizeError: The picture is not RGB, or has no pixels.
            ExtraMissingError, ControlModelMissingError: The weights that it needs are not installed.
            DigestMismatchError, ModelError: They are there, and cannot be used.
            PluginInvalidError: A plug-in returns something else than a picture of that size.
            PersonMissingError: Nobody is in the picture whose pose is wanted.
            MemoryBudgetError: They do not fit the memory.
            RunStoppedError: ``should_stop`` returned True.
        """
        checked = self.parse(parameters)
        _check_image(image)
        context.check_not_stopped()
        pixels = np.asarray(at_resolution(image, resolution))
        result = self.function(pixels, checked, context)
        context.check_not_stopped()
        if result.shape[:2] != pixels.shape[:2] or result.dtype != np.uint8:
            raise PluginInvalidError(
                f"The preprocessor {self.name} returned {result.dtype} {result.shape} for {pixels.shape}.",
                hint="It has to return uint8 of the same height and width.",
            )
        return Image.fromarray(result).convert("RGB")


PREPROCESSORS = Registry[Preprocessor](
    "preprocessor",
    "register_preprocessors",
    PreprocessorUnknownError,
    tuple(
        f"safelight.generation.control.preprocessors.{name}"
        for name in (
            *("canny", "lines", "soft_edge", "straight_lines", "pose", "dense", "detail", "colours"),
            "object_mask",
        )
    ),
    name_field="name",
)
"""Every preprocessor by name."""


def find_preprocessor(name: str) -> Preprocessor:
    """The preprocessor with a name or an alias.

    Raises:
        PreprocessorUnknownError: There is none.
    """
    asked = name.casefold()
    for each in PREPROCESSORS.values():
        if asked in (each.name, *(alias.casefold() for alias in each.aliases)):
            return each
    return PREPROCESSORS[name]


def _check_image(image: Image.Image) -> None:
    """Refuse what ``images.decode`` does not return."""
    if image.mode != "RGB":
        raise ImageArrayError(
            f"The picture to preprocess has mode {image.mode}, not RGB.", hint="Convert it to RGB."
        )
    if image.width == 0 or image.height == 0:
        raise ImageZeroSizeError(f"The picture to preprocess is {image.width} x {image.height} pixels.")


_TYPE_NAMES = MappingProxyType({int: "integer", float: "number", bool: "boolean", str: "string"})
"""JSON Schema's names for the types of parameters."""


def _describe(name: str, field: FieldInfo) -> dict[str, Any]:
    """A parameter for JSON output: name, type, default, range and description."""
    kind = _TYPE_NAMES[type(field.default)]
    row = {"name": name, "type": kind, "default": field.default}
    for limit in field.metadata:
        row |= {"minimum": limit.ge} if isinstance(limit, Ge) else {}
        row |= {"maximum": limit.le} if isinstance(limit, Le) else {}
    return row | {"description": field.description or ""}
