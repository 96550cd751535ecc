"""Options as clients of A1111 and SD.Next know them: those that have a meaning here, per owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from pydantic import JsonValue

from safelight import file_formats
from safelight.errors import SamplerUnknownError, UnsupportedFieldError
from safelight.file_formats import FileFormat
from safelight.generation.request import NoiseSource
from safelight.generation.solvers.sigmas import AUTOMATIC
from safelight.models.checkpoints.parts import AUTOMATIC as OWN_VAE
from safelight.server.api import checkpoint_names
from safelight.server.api.a1111.samplers import schedule_name
from safelight.server.security.allowlist import check_parts
from safelight.settings import Settings

Options = Mapping[str, JsonValue]
MAX_NAME, MAX_MODULES = 300, 5
RANDOM_SOURCE, GENERATOR_DEVICE = "randn_source", "diffusers_generator_device"
"""Where A1111 and SD.Next draw noise."""
NOISE_SOURCES: Mapping[JsonValue, NoiseSource] = MappingProxyType({"CPU": "cpu", "GPU": "gpu", "NV": "gpu"})
VAE, MODULES = "sd_vae", "forge_additional_modules"
CHECKPOINT, DIGEST = "sd_model_checkpoint", "sd_checkpoint_hash"
FORMATS: Mapping[str, FileFormat] = MappingProxyType(
    {suffix.removeprefix("."): kind for suffix, kind in file_formats.FORMATS.items()}
)


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        default: Its value until it is set.
        accepted_values: The accepted values, as text.
        accepts: Whether a value is accepted.
    """

    default: JsonValue
    accepted_values: str
    accepts: Callable[[JsonValue], bool]


def _one_of(*values: JsonValue) -> Option:
    return Option(values[0], " or ".join(map(repr, values)), lambda value: value in values)


def _integer(default: int, minimum: int, maximum: int) -> Option:
    def fits(value: JsonValue) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum

    return Option(default, f"a whole number, {minimum} to {maximum}", fits)


def _number(default: float, minimum: float, maximum: float) -> Option:
    def fits(value: JsonValue) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= maximum

    return Option(default, f"a number, {minimum} to {maximum}", fits)


def _is_schedule(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(schedule_name(value))
    except SamplerUnknownError:
        return False


def _is_name(value: JsonValue) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _are_names(value: JsonValue) -> bool:
    return isinstance(value, list) and len(value) <= MAX_MODULES and all(map(_is_name, value))


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "CLIP_stop_at_last_layers": _integer(1, 1, 12),
        "clip_skip": _integer(1, 1, 12),
        "token_merging_ratio": _number(0, 0, 0.75),
        "schedulers_sigma": Option("default", "a name from /sdapi/v1/schedulers", _is_schedule),
        "samples_format": _one_of(*FORMATS),
        "jpeg_quality": _integer(95, 1, 100),
        "webp_lossless": _one_of(False, True),
        # Options with one value only, for clients that read them or send all options back.
        VAE: Option("Automatic", "a name from /sdapi/v1/sd-vae, 'Automatic' or 'None'", _is_name),
        MODULES: Option([], "names or paths of files", _are_names),
        RANDOM_SOURCE: _one_of("CPU", "GPU", "NV"),
        GENERATOR_DEVICE: _one_of("CPU", "GPU", "Unset"),
        "prompt_attention": _one_of("native", "a1111"),
        "enable_pnginfo": _one_of(True),
        "eta_noise_seed_delta": _one_of(0),
        "img2img_fix_steps": _one_of(False),
    }
)
"""All options but the two of the checkpoint."""


@dataclass(frozen=True)
class OptionValues:
    """What the options mean for a request.

    Args:
        checkpoint: Name of the checkpoint; None for the server's default.
        clip_skip: 1 is the last layer.
        schedule: Name of the sigma schedule; None for the sampler's default.
        file_format: File format of the returned images.
        quality: Of JPEG and lossy WebP, 1 to 100.
        lossless: For WebP.
        vae: The file of another autoencoder; None for the checkpoint's.
        modules: Files of text encoders and an autoencoder, as Forge names them.
        token_merging: The fraction of tokens that are merged; 0 is none.
        noise_source: Where noise is drawn; None for the setting.
        second_checkpoint: The checkpoint that a request names for its second pass; None for the first's.
        refiner: The one that it names as a refiner; None without.
    """

    checkpoint: str | None
    clip_skip: int
    schedule: str | None
    file_format: FileFormat
    quality: int
    lossless: bool
    vae: str | None = None
    modules: tuple[str, ...] = ()
    token_merging: float = 0.0
    noise_source: NoiseSource | None = None
    second_checkpoint: str | None = None
    refiner: str | None = None


def option_values(options: Options) -> OptionValues:
    """Interpret checked options."""
    values: dict[str, Any] = {name: options.get(name, option.default) for name, option in OPTIONS.items()}
    schedule = schedule_name(values["schedulers_sigma"])
    checkpoint = options.get(CHECKPOINT)
    return OptionValues(
        checkpoint=None if checkpoint is None else str(checkpoint),
        clip_skip=max(values["CLIP_stop_at_last_layers"], values["clip_skip"]),
        schedule=None if schedule == AUTOMATIC else schedule,
        file_format=FORMATS[values["samples_format"]],
        quality=values["jpeg_quality"],
        lossless=values["webp_lossless"],
        vae=None if values[VAE].lower() in OWN_VAE else values[VAE],
        modules=tuple(values[MODULES] or ()),
        token_merging=float(values["token_merging_ratio"]),
        noise_source=_noise_source(options),
    )


def _noise_source(options: Options) -> NoiseSource | None:
    """What is chosen by A1111's option, or by SD.Next's."""
    chosen = (NOISE_SOURCES.get(options.get(name)) for name in (RANDOM_SOURCE, GENERATOR_DEVICE))
    return next((each for each in chosen if each is not None), None)


def all_options(options: Options, settings: Settings) -> dict[str, JsonValue]:
    """All options with their values, as /sdapi/v1/options returns them."""
    chosen = options.get(CHECKPOINT)
    title, digest = checkpoint_names.title_and_digest(None if chosen is None else str(chosen), settings)
    values = {name: options.get(name, option.default) for name, option in OPTIONS.items()}
    source = _noise_source(options) or settings.noise_source
    values |= {name: source.upper() for name in (RANDOM_SOURCE, GENERATOR_DEVICE) if name not in options}
    return {CHECKPOINT: title, DIGEST: digest, **values}


def unknown_options(changes: Options) -> list[str]:
    """Names that are no options here. A1111 and SD.Next have many hundreds of those."""
    return [name for name in changes if name not in OPTIONS and name not in (CHECKPOINT, DIGEST)]


def validate_options(changes: Options, options: Options, settings: Settings) -> dict[str, JsonValue]:
    """Validate a change of options and return those that change. Unknown names are skipped, see ``unknown_options``.

    Args:
        changes: The change; values that are set already are skipped.
        options: The current options.
        settings: Says where checkpoints are.

    Raises:
        UnsupportedFieldError: An option does not accept its value.
        ModelError: The checkpoint, an autoencoder or a text encoder does not exist, or cannot be used.
    """
    now = all_options(options, settings)
    new = {name: value for name, value in changes.items() if name in now and value != now[name]}
    checkpoint = _checkpoint_option(new, settings)
    rest = {name: value for name, value in new.items() if name in OPTIONS}
    for name, value in rest.items():
        if not OPTIONS[name].accepts(value):
            raise UnsupportedFieldError(
                f"{name} cannot be {value!r}.", field=name, hint=f"It takes {OPTIONS[name].accepted_values}."
            )
    check_parts(named_parts(rest), settings)
    return rest | checkpoint


def named_parts(options: Options) -> list[str]:
    """The files of autoencoders and text encoders that options name, without folders."""
    modules, vae = options.get(MODULES) or (), options.get(VAE)
    names = [*(modules if isinstance(modules, list) else ()), *([] if vae is None else [vae])]
    return [file_name(str(name)) for name in names if str(name).lower() not in OWN_VAE]


def file_name(name: str) -> str:
    """A file's name, of the path that a client of Forge may send."""
    return PurePath(name.replace("\\", "/")).name


def _checkpoint_option(changes: Options, settings: Settings) -> dict[str, JsonValue]:
    """The checkpoint option with the checkpoint's plain name; empty where the change has no checkpoint."""
    if CHECKPOINT not in changes and DIGEST not in changes:
        return {}
    wanted = changes.get(CHECKPOINT, changes.get(DIGEST))
    return {CHECKPOINT: checkpoint_names.select_checkpoint(str(wanted or ""), settings).name}
