"""Translate the names of upscalers between A1111 and Safelight."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from safelight.errors import UpscalerUnknownError
from safelight.generation.upscaling.registry import UpscalerInfo

LATENT = "Latent"
"""The one way of upscaling latents: bilinear, as A1111's mode of that name."""
NO_UPSCALER = "None"
"""A1111's upscaler that does nothing; where a size is needed, A1111 then resizes with Lanczos."""


FILTER_SCALE = 4.0
"""The factor that A1111 reports for resampling filters, which take any factor."""


def display_name(upscaler: UpscalerInfo) -> str:
    """An upscaler's name for A1111's clients: filters are capitalized there."""
    return upscaler.name.title() if upscaler.kind == "resampling" else upscaler.name


def hires_upscaler(name: str | None, upscalers: Sequence[UpscalerInfo]) -> str:
    """Our upscaler for a second pass.

    Args:
        name: A1111's or SD.Next's name; Latent when not given.
        upscalers: The available upscalers.

    Raises:
        UpscalerUnknownError: There is no upscaler of that name; the hint lists all.
    """
    if name is None or name.casefold() in ("", "latent", "latent bilinear"):
        return "latent"
    return "lanczos" if name == NO_UPSCALER else find_upscaler(name, upscalers, LATENT)


def find_upscaler(name: str, upscalers: Sequence[UpscalerInfo], *extra_names: str) -> str:
    """Our name of an upscaler, never a path.

    Args:
        name: A1111's or SD.Next's name.
        upscalers: The available upscalers.
        extra_names: More names for the hint.

    Raises:
        UpscalerUnknownError: There is no upscaler of that name.
    """
    ours = {upscaler.name.casefold(): upscaler.name for upscaler in upscalers}
    if found := ours.get(name.casefold().removeprefix("resize ")):
        return found
    names = [*extra_names, *(display_name(upscaler) for upscaler in upscalers)]
    near = get_close_matches(name, names, n=1)
    start = f"Did you mean {near[0]}? " if near else ""
    raise UpscalerUnknownError(
        f"There is no upscaler {name!r}.", hint=f"{start}There are {NO_UPSCALER}, {', '.join(names)}."
    )


def upscaler_rows(upscalers: Sequence[UpscalerInfo]) -> list[dict[str, object]]:
    """The upscalers as /sdapi/v1/upscalers lists them, None first; paths are not published.

    Each network has its own factor, null where its file does not tell. Filters have none of their own, and A1111's 4.
    """
    none: dict[str, object] = {
        "name": NO_UPSCALER,
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": 1.0,
    }
    return [none, *(none | {"name": display_name(each), "scale": _scale(each)} for each in upscalers)]


def _scale(upscaler: UpscalerInfo) -> float | None:
    if upscaler.kind == "resampling":
        return FILTER_SCALE
    return None if upscaler.factor is None else float(upscaler.factor)
