"""Always-on scripts. Safelight has none, but some clients send those that are built into A1111 with their requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safelight.errors import FieldError
from safelight.server.compat.a1111_fields import Drawing
from safelight.server.compat.a1111_names import empty
from safelight.server.compat.a1111_samplers import alike

SWITCH_FIRST = frozenset({"refiner", "soft inpainting", "adetailer", "freeu integrated", "tiled diffusion"})
"""Scripts whose first argument is known to be their switch."""
BUILT_IN = ("sampler", "seed", "comments", "extra options")
"""Scripts that are part of A1111's page; there, their values only have an effect when the page itself sends them."""


def check_scripts(drawing: Drawing) -> None:
    """Check that every script is switched off, or agrees with the request's fields.

    Args:
        drawing: The body; its ``alwayson_scripts`` are {"args": […]} by name.

    Raises:
        FieldError: A script is on, or one of A1111's built-in scripts contradicts the fields.
    """
    for name, given in drawing.alwayson_scripts.items():
        arguments = _arguments(given)
        if name.casefold() in BUILT_IN and isinstance(arguments, list):
            if not _agrees(name.casefold(), arguments, drawing):
                raise FieldError(
                    f"alwayson_scripts: {name} contradicts the request's own fields.",
                    field="alwayson_scripts",
                    hint="Leave the script out: the fields are used.",
                )
        elif not _off(arguments):
            raise FieldError(
                f"alwayson_scripts: there is no script {name!r}.",
                field="alwayson_scripts",
                hint="Safelight has no scripts.",
            )


def passed_over(drawing: Drawing) -> list[str]:
    """Names of scripts whose values were ignored, as fields.

    These are A1111's built-in scripts, and scripts that are presumed off because their first argument is false: most
    scripts have their switch there, but none has to.
    """
    return [
        f"alwayson_scripts.{name}"
        for name, given in drawing.alwayson_scripts.items()
        if (name.casefold() in BUILT_IN and _arguments(given)) or _presumed_off(name, _arguments(given))
    ]


def _agrees(name: str, given: Sequence[object], drawing: Drawing) -> bool:
    """Whether a script's values equal those of the fields, where both are given."""
    if name == "sampler":
        steps, sampler, scheduler = (*given, None, None, None)[:3]
        return (
            _same(steps, drawing, "steps")
            and alike(sampler, drawing.sampler_name or drawing.sampler_index)
            and alike(scheduler, drawing.scheduler)
        )
    if name == "seed":
        seed, more, subseed, strength, *resize = (*given, *[None] * 6)[:6]
        kept = empty(more) or (
            _same(subseed, drawing, "subseed")
            and _same(strength, drawing, "subseed_strength")
            and all(empty(side) or side == -1 for side in resize)
        )
        return _same(seed, drawing, "seed") and kept
    return True


def _same(given: object, drawing: Drawing, field: str) -> bool:
    """Whether a script's value equals a field's; a missing value contradicts nothing."""
    return given is None or field not in drawing.model_fields_set or given == getattr(drawing, field)


def _arguments(given: object) -> object:
    return given.get("args") if isinstance(given, Mapping) else given


def _off(arguments: object) -> bool:
    """Whether a script has no arguments, a first argument that is False, or only units that are switched off."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(given, list):
        return empty(given)
    return not given or given[0] is False or all(_switched_off(unit) for unit in given)


def _presumed_off(name: str, arguments: object) -> bool:
    """Whether a script is only presumed off: its first argument is false, but need not be its switch."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if name.casefold() in SWITCH_FIRST or not isinstance(given, list):
        return False
    return given[:1] == [False] and not all(empty(each) for each in given)


def _switched_off(unit: object) -> bool:
    return isinstance(unit, Mapping) and any(unit.get(key) is False for key in ("enabled", "enable"))
