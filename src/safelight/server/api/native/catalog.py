"""The catalog of this server's models: checkpoints, classifiers and upscalers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointMissingError, SafelightError
from safelight.generation.defaults import checkpoint_defaults
from safelight.generation.taken_fields import fields_not_taken
from safelight.generation.upscaling.registry import UpscalerInfo, find_upscalers
from safelight.models.checkpoints.discovery import STARTER, Checkpoint, find_checkpoint, find_checkpoints
from safelight.models.classifiers.classifier_store import ClassifierStore, ModelRecord
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.server.api.native.schemas.models import GenerationDefaults, Model, ReferenceLimits
from safelight.server.security.allowlist import default_checkpoint_name
from safelight.settings import Settings

OWNER = "safelight"
Workers = Iterable[Mapping[str, Any]]


def build_catalog(settings: Settings, workers: Workers) -> list[Model]:
    """All models, checkpoints first; the first of several with one name counts.

    Args:
        settings: The settings with the data directory and the default models.
        workers: The live workers, with the checkpoints that they have loaded.
    """
    loaded: dict[str, list[str]] = {}
    for worker in workers:
        for name in worker["checkpoints"]:
            loaded.setdefault(name, []).append(worker["name"])
    found = [
        *(_checkpoint(each, settings, loaded) for each in _checkpoints(settings)),
        *_classifiers(settings),
        *(_upscaler(each) for each in find_upscalers(settings.home)),
    ]
    return list({model.id: model for model in reversed(found)}.values())[::-1]


def _checkpoints(settings: Settings) -> list[Checkpoint]:
    """The checkpoints of the data directory, and the default one if it lies elsewhere."""
    found = find_checkpoints(settings.home, folders=settings.current_model_folders)
    if settings.checkpoint in [each.name for each in found]:
        return found
    try:
        return [
            find_checkpoint(settings.checkpoint, settings.home, folders=settings.current_model_folders),
            *found,
        ]
    except CheckpointMissingError:  # a hub id, which only workers resolve
        return found
    except SafelightError:  # an unusable file: requests that need it get the error
        return found


def _checkpoint(found: Checkpoint, settings: Settings, loaded: Mapping[str, list[str]]) -> Model:
    own = found.name == settings.checkpoint
    return Model(
        id=default_checkpoint_name(settings) if own else found.name,
        created=0 if found.name == STARTER else found.modified // 10**9,
        owned_by=OWNER if found.name == STARTER else "user",
        kind="checkpoint",
        default=own,
        family=found.family.key,
        modes=list(found.family.modes),
        references=_reference_limits(found),
        size=found.size,
        precision=found.precision,
        digest=found.cached_digest(settings.cache_folder),
        loaded_by=loaded.get(found.name, []),
        draws=_generation_defaults(found, settings),
    )


def _reference_limits(found: Checkpoint) -> ReferenceLimits | None:
    looking = found.family.references
    return None if looking is None else ReferenceLimits(**looking.to_dict())


def _generation_defaults(found: Checkpoint, settings: Settings) -> GenerationDefaults:
    """The family's values, with those that the settings have for this checkpoint in their place."""
    family, side = found.family, found.default_side()
    chosen = checkpoint_defaults(found.name, settings)
    return GenerationDefaults(
        kind=family.prediction_process,
        width=chosen.width or side,
        height=chosen.height or side,
        size_multiple=family.size_multiple,
        steps=chosen.steps or family.steps,
        guidance_scale=family.guidance_scale if chosen.guidance_scale is None else chosen.guidance_scale,
        sampler=chosen.sampler or family.sampler,
        schedule=chosen.schedule,
        negative=family.supports_negative or family.true_cfg,
        not_taken=list(fields_not_taken(family)),
    )


def _classifiers(settings: Settings) -> list[Model]:
    default = settings.classifier
    packaged = [
        Model(
            id=each.name,
            created=0,
            owned_by=each.package,
            kind="classifier",
            default=each.name == default,
            digest=each.digest,
        )
        for each in CLASSIFIERS.values()
    ]
    pulled = ClassifierStore(settings.models_folder).records()
    return packaged + [_pulled(record, default) for record in pulled]


def _pulled(record: ModelRecord, default: str) -> Model:
    return Model(
        id=record.name,
        created=int(datetime.fromisoformat(record.pulled).timestamp()),
        owned_by=record.repository.partition("/")[0],
        kind="classifier",
        default=record.name == default,
        size=record.size,
        digest=record.files.get("model.safetensors") or None,
    )


def _upscaler(info: UpscalerInfo) -> Model:
    path: Path | None = info.path
    stat = path.stat() if path else None
    return Model(
        id=info.name,
        created=int(stat.st_mtime) if stat else 0,
        owned_by=OWNER if path is None else "user",
        kind="upscaler",
        size=stat.st_size if stat else None,
    )
