"""Upscalers under A1111's names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from safelight.errors import UpscalerUnknownError
from safelight.generation.upscaling.finding import UpscalerInfo

LATENT = "Latent"
"""The one way of enlarging latents: bilinear, as A1111's of that name."""
NOTHING = "None"
"""A1111's upscaler that enlarges nothing; what then makes the size fit there is Lanczos."""


FILTERS_SCALE = 4.0
"""What A1111 says of filters, which enlarge by any factor."""


def shown(upscaler: UpscalerInfo) -> str:
    """An upscaler's name for A1111's clients: filters with a capital, as they know them."""
    return upscaler.name.title() if upscaler.kind == "resampling" else upscaler.name


def for_hires(name: str | None, known: Sequence[UpscalerInfo]) -> str:
    """Our upscaler for a second pass.

    Args:
        name: A1111's or SD.Next's name; Latent when not given.
        known: Those there are.

    Raises:
        UpscalerUnknownError: There is none of that name; the hint lists all.
    """
    if name is None or name.casefold() in ("", "latent", "latent bilinear"):
        return "latent"
    return "lanczos" if name == NOTHING else named(name, known, LATENT)


def named(name: str, known: Sequence[UpscalerInfo], *others: str) -> str:
    """Our name of an upscaler, never a path.

    Args:
        name: A1111's or SD.Next's.
        known: Those there are.
        others: What else the hint lists.

    Raises:
        UpscalerUnknownError: There is none of that name.
    """
    ours = {upscaler.name.casefold(): upscaler.name for upscaler in known}
    if found := ours.get(name.casefold().removeprefix("resize ")):
        return found
    names = [*others, *(shown(upscaler) for upscaler in known)]
    near = get_close_matches(name, names, n=1)
    start = f"Did you mean {near[0]}? " if near else ""
    raise UpscalerUnknownError(
        f"There is no upscaler {name!r}.", hint=f"{start}There are {NOTHING}, {', '.join(names)}."
    )


def rows(known: Sequence[UpscalerInfo]) -> list[dict[str, object]]:
    """The upscalers as /sdapi/v1/upscalers lists them, None first; paths are nobody's business.

    Each network has its own factor, null where its file does not tell. Filters have none of their own, and A1111's 4.
    """
    none: dict[str, object] = {
        "name": NOTHING,
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": 1.0,
    }
    return [none, *(none | {"name": shown(each), "scale": _scale(each)} for each in known)]


def _scale(upscaler: UpscalerInfo) -> float | None:
    if upscaler.kind == "resampling":
        return FILTERS_SCALE
    return None if upscaler.factor is None else float(upscaler.factor)
