"""Settings from command-line flags, ``SAFELIGHT_*`` variables, ``safelight.toml`` and defaults.

No other module reads the environment.
"""

from __future__ import annotations

import json
import os
import tomllib
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from safelight.errors import FieldUnknownError, SettingsError, field_error
from safelight.validation import first_problem

ColorByte = Annotated[int, Field(ge=0, le=255)]
Origin = Annotated[str, Field(pattern=r"^https?://[^/*\s]+$")]
MemoryStep = Literal["phases", "blocks", "sliced-attention", "tiling", "bf16", "int8", "disk"]
PrecisionName = Literal["auto", "fp32", "bf16", "int8"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]


@dataclass(frozen=True)
class Changeable:
    """Marks a setting that an administrator may change while a server runs.

    Its value is read wherever it is used; what is derived from it at a start would keep the former one.

    Args:
        group: What it is about: generation, moderation, limits, retention or page.
    """

    group: Literal["generation", "moderation", "limits", "retention", "page"]


class Source(StrEnum):
    """Where the value of a setting comes from, in ascending order of precedence."""

    DEFAULT = "default"
    FILE = "file"
    """safelight.toml in the data directory."""
    RUNTIME = "runtime"
    """A change while a server ran, which the database holds."""
    ENVIRONMENT = "environment"
    FLAG = "flag"
    """An option of the command, or an argument."""


class CheckpointDefaults(BaseModel):
    """Values for the fields that a request for a checkpoint leaves open; those of its family where there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int | None = Field(None, ge=16, le=16384, description="Pixels, without an initial picture.")
    height: int | None = Field(None, ge=16, le=16384, description="Likewise.")
    steps: int | None = Field(None, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="Classifier-free guidance."
    )
    sampler: str | None = Field(None, max_length=300, description="A sampler's name.")
    schedule: str | None = Field(None, max_length=300, description="A sigma schedule's name.")


DEPRECATED = {
    "batch_pictures": "max_batch_size",
    "batch_wait": "batch_timeout",
    "body_patience": "body_timeout",
    "drawing_precision": "generation_precision",
    "studio": "web_ui",
}
"""Former names of settings, which are still read with a warning, and their present names."""


class Settings(BaseSettings):
    """All settings, with unit and range.

    Order of precedence: arguments (the command line's flags), ``SAFELIGHT_*`` environment variables, changes while a
    server ran (``apply``), ``safelight.toml`` in the data directory, defaults. Former names (``DEPRECATED``) are
    accepted in all of them.

    Nothing assigns to a field, and ``apply`` alone replaces values, only those that are marked as ``Changeable``.
    """

    model_config = SettingsConfigDict(env_prefix="SAFELIGHT_", extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=lambda: user_data_path("safelight", appauthor=False),
        description="The data directory: settings, models, caches.",
    )

    database: SecretStr = Field(
        SecretStr(""),
        description="URL of the database for jobs, gallery and keys, as postgresql://user:password@host/name; "
        "empty: SQLite in the data directory. Never shown.",
    )

    classifier: str = Field(
        "open-nsfw", description="Which classifier judges: open-nsfw, a pulled model's name, or a folder."
    )
    policy: Annotated[str, Changeable("moderation")] = Field(
        "standard", description="strict, standard, lenient, or the path of a policy file."
    )
    exact: bool = Field(
        False,
        description="Decode pictures in full and compute in fp32 reference arithmetic; slower than the default.",
    )
    tiles: bool = Field(
        False, description="Also judge square tiles of tall and wide pictures; the worst counts."
    )

    max_pixels: Annotated[int, Changeable("limits")] = Field(
        64_000_000, ge=1, description="Pictures with more pixels are refused, in pixels."
    )
    max_bytes: Annotated[int, Changeable("limits")] = Field(
        256 * 1024 * 1024, ge=1, description="Files larger than this are refused, in bytes."
    )
    max_frames: Annotated[int, Changeable("limits")] = Field(
        16, ge=1, le=1000, description="How many frames of an animation are judged."
    )
    background: tuple[ColorByte, ColorByte, ColorByte] = Field(
        (255, 255, 255), description="Colour behind transparent pixels: red, green, blue, each 0 to 255."
    )

    checkpoint: Annotated[str, Changeable("generation")] = Field(
        "starter",
        description="Checkpoint that generates pictures: starter, a name, a folder, a file or a hub id.",
    )
    checkpoint_defaults: Annotated[dict[str, CheckpointDefaults], Changeable("generation")] = Field(
        {},
        description="Size, steps, guidance_scale, sampler and schedule of checkpoints by name, in place of their "
        "family's, where a request leaves them open.",
    )
    device: str = Field("auto", description="Device that generates pictures: auto, cpu, cuda, cuda:1, mps …")
    device_fallback: bool = Field(
        False,
        description="Whether the CPU takes the place of a device that is missing or broken, which is then said; else "
        "it is an error.",
    )
    text_encoder_device: str = Field(
        "", description="Device of checkpoints' text encoders, as in device; empty: that of the denoiser."
    )
    vae_device: str = Field(
        "", description="Device of checkpoints' autoencoders, as in device; empty: that of the denoiser."
    )
    generation_quality: Annotated[Literal["exact", "balanced", "fast"], Changeable("generation")] = Field(
        "balanced",
        description="What requests that leave it open may give up for speed: exact, balanced or fast "
        "(docs/quality.md).",
    )
    noise_source: Annotated[Literal["cpu", "gpu"], Changeable("generation")] = Field(
        "cpu",
        description="Noise of requests that leave it open: cpu, or gpu for the numbers that a seed gives on a CUDA "
        "device, as A1111 and SD.Next draw them.",
    )
    generation_precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Arithmetic of the denoiser, and of the components that compute right in it; "
        "auto: fp32 on CPUs, or bf16 where it is faster there and the quality is not exact; the family's elsewhere.",
    )
    text_encoder_precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Arithmetic of checkpoints' text encoders; auto: generation_precision, or the family's.",
    )
    vae_precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Arithmetic of checkpoints' autoencoders; auto: generation_precision, or the family's.",
    )
    generation_backend: str = Field(
        "auto",
        description="What computes checkpoints: eager, which is PyTorch as it is; openvino, inductor, onnxruntime or "
        "tensorrt, which compile a form of each network for each size; auto, where a measurement on this machine "
        "decides; or one of a plug-in.",
    )
    compile_cache_bytes: int = Field(
        16 * 1024**3,
        ge=0,
        description="Bytes that compiled forms of networks may take in the cache folder; the least recently used ones "
        "are deleted beyond it.",
    )
    memory_budget: int = Field(
        0,
        ge=0,
        description="Bytes that loaded networks and a picture may take; 0: most of the device's memory.",
    )
    memory_steps: tuple[MemoryStep, ...] = Field(
        ("phases", "blocks", "sliced-attention", "tiling", "bf16", "int8", "disk"),
        description="What may be done where a picture does not fit the memory (docs/memory.md); empty: it is refused.",
    )
    max_batch_size: int = Field(
        8,
        ge=1,
        le=64,
        description="How many pictures are generated together at most; 1: one after the other.",
    )
    batch_timeout: float = Field(
        20.0, ge=0, le=1000, description="How long a step waits for steps of other pictures, in milliseconds."
    )
    model_folders: tuple[Path, ...] = Field(
        (),
        description="Further folders with checkpoints, at any depth, such as those of A1111, SD.Next, Forge or "
        "ComfyUI, read where they are; safelight models adopt DIR adds one.",
    )
    hash_models: bool = Field(
        True,
        description="Whether a server and its workers compute the SHA-256 of models in the background.",
    )
    allow_network: bool = Field(
        False,
        description="Whether a checkpoint named by its hub id may be downloaded if it is not on this machine.",
    )
    hub_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+[^/\s?#])?$",
        description="Address of the Hugging Face hub, or of a mirror of it; empty: that of its libraries.",
    )
    hub_token_file: Path | None = Field(
        None,
        description="File with the token for the hub, readable only by its owner; without it, and without hub_url, the "
        "token of the login that its libraries keep.",
    )
    civitai_url: str = Field(
        "https://civitai.com",
        pattern=r"^https?://[^\s?#]+[^/\s?#]$",
        description="Address of CivitAI, or of a mirror of it.",
    )
    civitai_token_file: Path | None = Field(
        None, description="File with the API key for CivitAI, readable only by its owner."
    )

    host: str = Field(
        "127.0.0.1", description="The address the server listens on; any other than loopback needs keys."
    )
    port: int = Field(7860, ge=1, le=65535, description="The port the server listens on.")
    worker_devices: tuple[str, ...] = Field(
        (), description="Devices with a worker each, as in device; empty: one worker for the setting device."
    )
    web_ui: bool = Field(
        True, description="Whether the studio for browsers is there; without it the server takes less memory."
    )
    languages: Annotated[tuple[Language, ...], Changeable("page")] = Field(
        (), description="Languages of the page that can be chosen, as en or de; empty: all there are."
    )
    max_upload_bytes: Annotated[int, Changeable("limits")] = Field(
        100_000_000_000,
        ge=0,
        description="Largest file of weights that administrators may upload, in bytes; 0: none may be uploaded.",
    )
    queue_capacity: Annotated[int, Changeable("limits")] = Field(
        10_000, ge=1, description="How many jobs may wait."
    )
    waiting_per_owner: Annotated[int, Changeable("limits")] = Field(
        1000,
        ge=1,
        description="How many jobs of one key may wait, and never more than there are free places in the queue.",
    )
    waiting_bytes_per_owner: Annotated[int, Changeable("limits")] = Field(
        1024**3,
        ge=0,
        description="Limit on the pictures that came with one key's unfinished jobs, in bytes of all files.",
    )
    max_job_work: Annotated[float, Changeable("limits")] = Field(
        1_000_000,
        gt=0,
        allow_inf_nan=False,
        description="Limit on a job's work: megapixels times steps, over all its pictures.",
    )
    max_job_seconds: Annotated[float, Changeable("limits")] = Field(
        86400,
        gt=0,
        le=30 * 86400,
        description="Seconds a job may run, its pauses not counted; then it fails and keeps what it has.",
    )
    max_attempts: Annotated[int, Changeable("limits")] = Field(
        3,
        ge=1,
        le=1000,
        description="How many workers in a row a job may lose without finishing a picture; then it fails.",
    )
    job_retention: Annotated[float, Changeable("retention")] = Field(
        7 * 86400, gt=0, description="Seconds for which a finished job and its result can be asked for."
    )
    gallery_retention: Annotated[float, Changeable("retention")] = Field(
        0,
        ge=0,
        description="Seconds for which the gallery keeps what is no favourite; 0: until it is deleted.",
    )

    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names under which the server is reached, beside this machine's own; any needs keys."
    )
    cors_origins: tuple[Origin, ...] = Field(
        (), description="Origins of web pages that may use the server, as https://example.org; no others may."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of reverse proxies whose X-Forwarded-For and -Proto are trusted."
    )
    max_request_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Larger requests to the server are refused, in bytes."
    )
    body_timeout: float = Field(
        30.0, gt=0, le=3600, description="Seconds without a byte after which a request is aborted."
    )
    requests_per_minute: Annotated[int, Changeable("limits")] = Field(
        1200,
        ge=0,
        description="How many requests a key of the role user may make in a minute; 0: any number.",
    )
    pictures_per_minute: Annotated[int, Changeable("limits")] = Field(
        0, ge=0, description="How many pictures such a key may ask for in a minute; 0: any number."
    )
    megapixels_per_minute: Annotated[float, Changeable("limits")] = Field(
        0.0,
        ge=0,
        description="Megapixels such a key may ask for in a minute, over all pictures; 0: any number.",
    )
    allow_image_urls: bool = Field(
        False, description="Whether requests may name pictures by their address, for the server to fetch."
    )
    openai_models: dict[str, str] = Field(
        {},
        description="Checkpoints for names that OpenAI's clients give as the model of pictures, as "
        '{"dall-e-3" = "starter"}; "*" is every name that is no checkpoint\'s. OpenAI\'s own names mean the setting '
        "checkpoint where this says nothing of them. Answers name the checkpoint.",
    )
    text_blocklist: str = Field(
        "",
        description="Path of a text file with a word or phrase a line, for which /v1/moderations flags a text; "
        "empty: texts are not judged.",
    )
    moderation_texts: Literal["refuse", "skip"] = Field(
        "refuse",
        description="What /v1/moderations does with a text beside a picture where there is no text_blocklist: "
        "refuse, or skip it and say so.",
    )
    audit_bytes: int = Field(
        60_000_000,
        ge=600_000,
        description="How much of audit.log and of security.log is kept, in bytes each, rotated files included.",
    )
    audit_prompts: bool = Field(False, description="Whether audit.log holds the prompts of jobs.")

    server: str = Field(
        "",
        description="Address of a Safelight server that generate, edit, upscale, moderate and models list use instead "
        "of this machine, as http://host:7860; empty: this machine.",
    )
    key: SecretStr = Field(SecretStr(""), description="The key for that server. Never shown.")

    backend: str = Field(
        "auto",
        description="What runs a network: openvino, onnxruntime or auto, where a probe on this machine decides.",
    )
    precision: PrecisionName = Field(
        "auto",
        description="Arithmetic of a network; auto: the probe decides between fp32 and bf16. int8 (open-nsfw only): "
        "clearly harmless pictures in int8, the others in fp32.",
    )
    moderation_device: str = Field(
        "cpu",
        pattern=r"^\w+(:\d+)?$",
        description="Device of the classifier, named as in device: cpu, or an accelerator for which ONNX Runtime has "
        "an execution provider (docs/devices.md).",
    )
    threads: int = Field(
        0, ge=0, description="Threads for a network; 0: one for each core this process may use."
    )

    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)
    """The sources of the settings that ``load`` found given."""
    _configured: dict[str, Any] = PrivateAttr(default_factory=dict)
    """The values that ``apply`` has replaced."""
    _follows_toml: bool = PrivateAttr(default=False)
    """Whether ``model_folders`` comes from ``safelight.toml``, or would if it were set there."""

    @classmethod
    def load(cls, **flags: Any) -> Settings:
        """Load the settings from all sources; flags that are None count as not given.

        Raises:
            SettingsError: A value is out of range, a name is unknown or the TOML file cannot be parsed.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            loaded = cls(**given)
        except ValidationError as error:
            raise SettingsError(_first_error_message(error)) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"safelight.toml cannot be read: {error}") from error
        except ValueError as error:  # a variable that is not valid JSON
            raise SettingsError(f"{error}.") from error
        loaded._sources = _sources_of(loaded, given)
        loaded._follows_toml = loaded.source("model_folders") in (Source.DEFAULT, Source.FILE)
        return loaded

    def source(self, name: str) -> Source:
        """Where the value of a setting comes from."""
        if name in self._configured:
            return Source.RUNTIME
        return self._configured_source(name)

    def _configured_source(self, name: str) -> Source:
        """Where the value comes from that a setting has without changes at runtime."""
        given = Source.FLAG if name in self.model_fields_set else Source.DEFAULT
        return self._sources.get(name, given)

    def can_change(self, name: str) -> bool:
        """Whether ``apply`` can change a setting: the environment and flags have precedence."""
        return name in CHANGEABLE and self._configured_source(name) in (Source.DEFAULT, Source.FILE)

    def configured(self, name: str) -> Any:
        """The value of a setting without changes at runtime."""
        return self._configured.get(name, getattr(self, name))

    def apply(self, values: Mapping[str, Any]) -> None:
        """Replace all changes at runtime by others, in one step for threads that read.

        Args:
            values: Valid values by name (``parse_value``); those that the environment or a flag gives are left out.
        """
        changed = {name: value for name, value in values.items() if self.can_change(name)}
        configured = {name: self.configured(name) for name in {*self._configured, *changed}}
        object.__setattr__(self, "__dict__", {**self.__dict__, **configured, **changed})
        self._configured = {name: configured[name] for name in changed}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources by precedence: flags, the environment, the data directory's safelight.toml."""
        assert isinstance(init_settings, InitSettingsSource)
        assert isinstance(env_settings, EnvSettingsSource)
        _replace_deprecated(init_settings.init_kwargs)
        variables = dict(env_settings.env_vars)
        _replace_deprecated(variables, prefix="safelight_")
        env_settings.env_vars = variables
        home = init_settings().get("home") or env_settings().get("home")
        folder = Path(home) if home else user_data_path("safelight", appauthor=False)
        toml = TomlConfigSettingsSource(settings_cls, folder / "safelight.toml")
        _replace_deprecated(toml.init_kwargs)
        return init_settings, env_settings, toml

    @property
    def current_model_folders(self) -> tuple[Path, ...]:
        """The setting ``model_folders`` as ``safelight.toml`` has it now, where it comes from there.

        So folders that are added while a program runs are used without a restart.
        """
        return _read_model_folders(self) if self._follows_toml else self.model_folders

    @property
    def model_folders_can_change(self) -> bool:
        """Whether ``model_folders`` is what ``safelight.toml`` says, and not fixed by a flag or the environment."""
        return self._follows_toml

    @property
    def database_url(self) -> str:
        """The database's URL with its password; not to be shown."""
        return self.database.get_secret_value() or f"sqlite:///{self.home.absolute() / 'safelight.db'}"

    @property
    def models_folder(self) -> Path:
        """The folder of pulled models."""
        return self.home / "models"

    @property
    def cache_folder(self) -> Path:
        """The cache folder, which can be deleted at any time: converted networks, compiled blobs, probe results."""
        return self.home / "cache"


CHANGEABLE = {
    name: marker
    for name, field in Settings.model_fields.items()
    for marker in field.metadata
    if isinstance(marker, Changeable)
}
"""The settings that may be changed while a server runs."""


@cache
def value_type(name: str) -> TypeAdapter[Any]:
    """The type of a setting with its range."""
    field = Settings.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


def parse_value(name: str, value: Any) -> Any:
    """Check a JSON value of a setting that may be changed while a server runs.

    Raises:
        FieldUnknownError: There is no such setting.
        BodyInvalidError: The value has the wrong type or is out of range; the error names the setting and its range.
    """
    if name not in Settings.model_fields:
        raise FieldUnknownError(f"There is no setting {name!r}.", field=name)
    try:
        return value_type(name).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        problem = first_problem(error)
        problem = replace(problem, field=".".join(filter(None, (name, problem.field))))
        raise field_error(problem, f"{problem}.") from error


def _sources_of(settings: Settings, flags: Mapping[str, Any]) -> dict[str, Source]:
    """The sources of all settings that are given somewhere."""
    variables = {
        name.lower().removeprefix("safelight_")
        for name in os.environ
        if name.lower().startswith("safelight_")
    }
    given_by = ((flags.keys(), Source.FLAG), (variables, Source.ENVIRONMENT))
    sources = dict.fromkeys(settings.model_fields_set, Source.FILE)
    for names, source in reversed(given_by):
        sources |= {DEPRECATED.get(name, name): source for name in names}
    return {name: source for name, source in sources.items() if name in Settings.model_fields}


def _read_model_folders(settings: Settings) -> tuple[Path, ...]:
    """The folders in ``safelight.toml``; those at the start while it cannot be read."""
    path = settings.home / "safelight.toml"
    try:
        stat = path.stat()
        return _parse_model_folders(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        return settings.model_folders


@lru_cache(maxsize=4)
def _parse_model_folders(path: Path, *_: int) -> tuple[Path, ...]:
    """The folders in a version of the file.

    Raises:
        OSError, ValueError: It cannot be read, or holds something else.
    """
    listed = tomllib.loads(path.read_text(encoding="utf-8")).get("model_folders", [])
    return TypeAdapter(tuple[Path, ...]).validate_python(listed)


def debug_enabled() -> bool:
    """Whether SAFELIGHT_DEBUG requests tracebacks; not a field of ``Settings``, since loading those can fail."""
    return os.environ.get("SAFELIGHT_DEBUG", "") not in ("", "0")


def _replace_deprecated(given: MutableMapping[str, Any], prefix: str = "") -> None:
    """Replace former names of settings by the present ones in what one source gives, with a warning for each.

    Raises:
        SettingsError: A setting is given by both of its names.
    """
    for former, present in DEPRECATED.items():
        if prefix + former not in given:
            continue
        if prefix + present in given:
            raise SettingsError(f"{present} and {former}, its former name, are both given.")
        given[prefix + present] = given.pop(prefix + former)
        # Not a DeprecationWarning, which Python hides from the users of a program.
        warnings.warn(f"The setting {former} is called {present} now.", FutureWarning, stacklevel=2)


def _first_error_message(error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.type == "extra_forbidden":
        return f"There is no setting {problem.field!r}."
    given = "" if problem.field.startswith("database") else f" (given: {problem.given!r})"
    return f"{problem}{given}."
