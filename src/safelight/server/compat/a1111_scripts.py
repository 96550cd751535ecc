"""Always-on scripts: Safelight has none, but A1111's own ones come along with some clients' requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safelight.errors import FieldError
from safelight.server.compat.a1111_fields import Drawing
from safelight.server.compat.a1111_names import empty
from safelight.server.compat.a1111_samplers import alike

SWITCH_FIRST = frozenset({"refiner", "soft inpainting", "adetailer", "freeu integrated", "tiled diffusion"})
"""Scripts whose first argument is known to be their switch."""
BUILT_IN = ("sampler", "seed", "comments", "extra options")
"""Scripts that are a part of A1111's page: what they hold counts there only when the page itself sends it."""


def check_scripts(drawing: Drawing) -> None:
    """See that all scripts are switched off, or say what the request's fields say.

    Args:
        drawing: What was sent; its ``alwayson_scripts`` are {"args": […]} by name.

    Raises:
        FieldError: One is on, or one of A1111's own contradicts the fields.
    """
    for name, given in drawing.alwayson_scripts.items():
        arguments = _arguments(given)
        if name.casefold() in BUILT_IN and isinstance(arguments, list):
            if not _agrees(name.casefold(), arguments, drawing):
                raise FieldError(
                    f"alwayson_scripts: {name} contradicts the request's own fields.",
                    field="alwayson_scripts",
                    hint="Leave it out: the fields count.",
                )
        elif not _off(arguments):
            raise FieldError(
                f"alwayson_scripts: there is no script {name!r}.",
                field="alwayson_scripts",
                hint="/sdapi/v1/scripts lists what there is: none.",
            )


def passed_over(drawing: Drawing) -> list[str]:
    """Scripts that hold something that does not count, as fields.

    They are A1111's own, and those that are only taken to be off because their first argument is false: most have
    their switch there, but none has to.
    """
    return [
        f"alwayson_scripts.{name}"
        for name, given in drawing.alwayson_scripts.items()
        if (name.casefold() in BUILT_IN and _arguments(given)) or _presumed_off(name, _arguments(given))
    ]


def _agrees(name: str, given: Sequence[object], drawing: Drawing) -> bool:
    """Whether a script's values are those of the fields, as far as both are there."""
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
    """Whether a script's value is a field's; one that was not given contradicts nothing."""
    return given is None or field not in drawing.model_fields_set or given == getattr(drawing, field)


def _arguments(given: object) -> object:
    return given.get("args") if isinstance(given, Mapping) else given


def _off(arguments: object) -> bool:
    """No arguments, a first one that is False, or units that are all switched off."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(given, list):
        return empty(given)
    return not given or given[0] is False or all(_switched_off(unit) for unit in given)


def _presumed_off(name: str, arguments: object) -> bool:
    """Whether a script is only taken to be off: its first argument is false, which need not be its switch."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if name.casefold() in SWITCH_FIRST or not isinstance(given, list):
        return False
    return given[:1] == [False] and not all(empty(each) for each in given)


def _switched_off(unit: object) -> bool:
    return isinstance(unit, Mapping) and any(unit.get(key) is False for key in ("enabled", "enable"))
