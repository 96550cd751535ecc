"""Always-on scripts: some have counterparts (ControlNet, Refiner, soft inpainting); clients send others too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safelight.errors import UnsupportedFieldError
from safelight.server.api.a1111.controlnet import SCRIPT
from safelight.server.api.a1111.ignored_fields import is_empty
from safelight.server.api.a1111.samplers import names_match
from safelight.server.api.a1111.schemas import GenerationParameters, Img2ImgBody
from safelight.server.api.a1111.soft_inpainting import SCRIPT as SOFT_INPAINTING
from safelight.server.api.a1111.soft_inpainting import ignored_sliders

REFINER = "refiner"
"""A1111's own script, whose arguments are its switch, a checkpoint, and when it takes over."""
SWITCH_IS_FIRST_ARGUMENT = frozenset(
    {"refiner", "soft inpainting", "adetailer", "freeu integrated", "tiled diffusion"}
)
"""Scripts whose first argument is known to be their switch."""
BUILT_IN_SCRIPTS = ("sampler", "seed", "comments", "extra options")
"""Scripts that are part of A1111's page; there, their values only have an effect when the page itself sends them."""


def check_scripts(body: GenerationParameters) -> None:
    """Check that every script is switched off, or agrees with the request's fields.

    Args:
        body: The body; its ``alwayson_scripts`` are {"args": […]} by name.

    Raises:
        UnsupportedFieldError: A script is on, or one of A1111's built-in scripts contradicts the fields.
    """
    for name, given in body.alwayson_scripts.items():
        arguments = _arguments(given)
        if name.casefold() == SCRIPT:
            continue  # ``controlnet.control_units`` checks it
        if name.casefold() == REFINER and refiner_of(body)[0] is not None:
            continue
        if name.casefold() == SOFT_INPAINTING and isinstance(body, Img2ImgBody):
            continue
        if name.casefold() in BUILT_IN_SCRIPTS and isinstance(arguments, list):
            if not _agrees_with_fields(name.casefold(), arguments, body):
                raise UnsupportedFieldError(
                    f"alwayson_scripts: {name} contradicts the request's own fields.",
                    field="alwayson_scripts",
                    hint="Leave the script out: the fields are used.",
                )
        elif not _is_off(arguments):
            raise UnsupportedFieldError(
                f"alwayson_scripts: there is no script {name!r}.",
                field="alwayson_scripts",
                hint="Safelight has ControlNet's, Refiner, and in img2img soft inpainting.",
            )


def refiner_of(body: GenerationParameters) -> tuple[str | None, float | None]:
    """The refiner's checkpoint and when it takes over: those of the script if it is on, else the fields'.

    Raises:
        UnsupportedFieldError: The script is on with other values than a name and a number from 0 to 1.
    """
    for name, given in body.alwayson_scripts.items():
        arguments = _arguments(given)
        if name.casefold() != REFINER or not isinstance(arguments, list) or arguments[:1] != [True]:
            continue
        checkpoint, switch = (*arguments[1:], None, None)[:2]
        if isinstance(checkpoint, str) and isinstance(switch, int | float | None) and 0 <= (switch or 0) <= 1:
            return checkpoint, switch
        raise UnsupportedFieldError(
            "alwayson_scripts: Refiner takes a checkpoint's name, and a number from 0 to 1.",
            field="alwayson_scripts",
        )
    return body.refiner_checkpoint, body.refiner_switch_at


def ignored_scripts(body: GenerationParameters) -> list[str]:
    """Names of scripts whose values were ignored, as fields.

    These are A1111's built-in scripts, and scripts that are presumed off because their first argument is false: most
    scripts have their switch there, but none has to.
    """
    return [
        f"alwayson_scripts.{name}"
        for name, given in body.alwayson_scripts.items()
        if name.casefold() != SCRIPT
        if (name.casefold() in BUILT_IN_SCRIPTS and _arguments(given))
        or _presumed_off(name, _arguments(given))
    ] + ignored_sliders(body)


def _agrees_with_fields(name: str, arguments: Sequence[object], body: GenerationParameters) -> bool:
    """Whether a script's values equal those of the fields, where both are given."""
    if name == "sampler":
        steps, sampler, scheduler = (*arguments, None, None, None)[:3]
        return (
            _equals_field(steps, body, "steps")
            and names_match(sampler, body.sampler_name or body.sampler_index)
            and names_match(scheduler, body.scheduler)
        )
    if name == "seed":
        seed, more, subseed, strength, *resize = (*arguments, *[None] * 6)[:6]
        kept = is_empty(more) or (
            _equals_field(subseed, body, "subseed")
            and _equals_field(strength, body, "subseed_strength")
            and all(is_empty(side) or side == -1 for side in resize)
        )
        return _equals_field(seed, body, "seed") and kept
    return True


def _equals_field(value: object, body: GenerationParameters, field: str) -> bool:
    """Whether a script's value equals a field's; a missing value contradicts nothing."""
    return value is None or field not in body.model_fields_set or value == getattr(body, field)


def _arguments(script: object) -> object:
    return script.get("args") if isinstance(script, Mapping) else script


def _is_off(arguments: object) -> bool:
    """Whether a script has no arguments, a first argument that is False, or only units that are switched off."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(given, list):
        return is_empty(given)
    return not given or given[0] is False or all(_switched_off(unit) for unit in given)


def _presumed_off(name: str, arguments: object) -> bool:
    """Whether a script is only presumed off: its first argument is false, but need not be its switch."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if name.casefold() in SWITCH_IS_FIRST_ARGUMENT or not isinstance(given, list):
        return False
    return given[:1] == [False] and not all(is_empty(each) for each in given)


def _switched_off(unit: object) -> bool:
    return isinstance(unit, Mapping) and any(unit.get(key) is False for key in ("enabled", "enable"))
