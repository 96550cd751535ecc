"""``/v1/settings``: what an administrator may change while the server runs; ``/v1/preferences``: each user's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import JsonValue, SecretStr

from safelight.errors import (
    CheckpointMissingError,
    FieldError,
    NotAChoiceError,
    RoleRequiredError,
    SafelightError,
    SettingFixedError,
)
from safelight.generation.plan import check_sides
from safelight.generation.solvers.samplers import check_sampler_names
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.moderation.policy import PRESETS
from safelight.server.api.checkpoint_names import list_checkpoints
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.settings import (
    Preferences,
    PreferencesView,
    SettingList,
    SettingView,
)
from safelight.server.api.openapi_examples import PREFERENCES, SETTINGS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.allowlist import check_checkpoint
from safelight.server.security.dependencies import CurrentAdmin, CurrentPrincipal, Principal
from safelight.settings import CHANGEABLE, CheckpointDefaults, Settings, Source, parse_value, value_type
from safelight.stored_settings.runtime import json_value
from safelight.ui.texts import LANGUAGES

router = APIRouter(prefix="/v1", tags=["system"])
HIDDEN = ("server", "key")
"""Settings that a server does not read."""
MAX_AUDITED = 500
"""Maximum characters of a value in a line of the audit log."""

Changes = Annotated[
    dict[str, JsonValue],
    Body(
        min_length=1,
        max_length=100,
        description="Values by name; null for the value without changes while the server runs.",
        openapi_examples={"limits": {"value": {"queue_capacity": 500, "requests_per_minute": None}}},
    ),
]


@router.get(
    "/settings",
    operation_id="list_settings",
    summary="List settings",
    responses=error_responses(RoleRequiredError) | example_response(SETTINGS),
)
async def list_settings(app_state: CurrentAppState, _: CurrentAdmin) -> SettingList:
    """All settings with value, range and source, for administrators: first those that can be changed now."""
    return await asyncio.to_thread(_setting_list, app_state.service.settings)


@router.patch(
    "/settings",
    operation_id="change_settings",
    summary="Change settings",
    responses=error_responses(RoleRequiredError, SettingFixedError, FieldError, CheckpointMissingError)
    | example_response(SETTINGS),
)
async def change_settings(
    changes: Changes, app_state: CurrentAppState, principal: CurrentAdmin
) -> SettingList:
    """Change settings in all processes at once, without a restart: all that are given, or none.

    An object, such as checkpoint_defaults, is merged: names that are not given stay, and those with null are removed.
    The database holds the changes; a value of the environment or of an option has precedence and cannot be changed.
    """
    return await app_state.threads.run_write(_change, app_state, principal, changes)


@router.get(
    "/preferences",
    operation_id="get_preferences",
    summary="Get your preferences",
    responses=error_responses() | example_response(PREFERENCES),
)
async def get_preferences(app_state: CurrentAppState, principal: CurrentPrincipal) -> PreferencesView:
    """How the page is for this user, in every browser."""
    return await asyncio.to_thread(_preferences, app_state, principal)


@router.patch(
    "/preferences",
    operation_id="change_preferences",
    summary="Change your preferences",
    responses=error_responses(FieldError, CheckpointMissingError) | example_response(PREFERENCES),
)
async def change_preferences(
    body: Preferences, app_state: CurrentAppState, principal: CurrentPrincipal
) -> PreferencesView:
    """Change what is given; null removes a preference."""
    settings = app_state.service.settings

    def change() -> PreferencesView:
        if body.language is not None:
            _check_choice("language", body.language, offered_languages(settings))
        if body.default_checkpoint is not None:
            _in_field("default_checkpoint", lambda: check_checkpoint(str(body.default_checkpoint), settings))
        app_state.preferences.change(principal.owner, body.model_dump(exclude_unset=True))
        return _preferences(app_state, principal)

    return await app_state.threads.run_write(change)


def offered_languages(settings: Settings) -> list[str]:
    """The languages of the page that can be chosen."""
    return [language for language in LANGUAGES if language in (settings.languages or LANGUAGES)]


def _preferences(app_state: AppState, principal: Principal) -> PreferencesView:
    known = {
        name: value
        for name, value in app_state.preferences.get(principal.owner).items()
        if name in Preferences.model_fields
    }
    return PreferencesView.model_validate(
        {**known, "languages": offered_languages(app_state.service.settings)}
    )


def _setting_list(settings: Settings) -> SettingList:
    names = [
        name
        for name in Settings.model_fields
        if name not in HIDDEN and not isinstance(getattr(settings, name), SecretStr)
    ]
    names.sort(key=lambda name: name not in CHANGEABLE)
    return SettingList(settings=[_setting(name, settings) for name in names])


def _setting(name: str, settings: Settings) -> SettingView:
    info, marker, source = Settings.model_fields[name], CHANGEABLE.get(name), settings.source(name)
    rules = value_type(name).json_schema()
    return SettingView(
        name=name,
        group=marker.group if marker else None,
        description=info.description or "",
        value=json_value(getattr(settings, name)),
        configured=json_value(settings.configured(name)),
        default=json_value(info.get_default(call_default_factory=True, validated_data={})),
        source=source,
        stored=_stored(name, source, settings),
        changeable=settings.can_change(name),
        rules={key: value for key, value in rules.items() if key not in ("title", "description", "default")},
        choices=_choices(name, settings),
    )


def _stored(name: str, source: Source, settings: Settings) -> str | None:
    match source:
        case Source.FILE:
            return str(settings.home / "safelight.toml")
        case Source.RUNTIME:
            return "the database"
        case Source.ENVIRONMENT:
            return f"SAFELIGHT_{name.upper()}"
        case Source.FLAG:
            return f"--{name.replace('_', '-')}"
    return None


def _choices(name: str, settings: Settings) -> list[str] | None:
    match name:
        case "policy":
            configured = str(settings.configured(name))
            return list(dict.fromkeys([*PRESETS, configured]))
        case "checkpoint":
            return [each.name for each in list_checkpoints(settings)]
        case "languages":
            return list(LANGUAGES)
    return None


def _change(app_state: AppState, principal: Principal, given: Mapping[str, JsonValue]) -> SettingList:
    settings, runtime = app_state.service.settings, app_state.runtime_settings
    changes: dict[str, Any] = {}
    for name, value in given.items():
        runtime.check_changeable(name)
        if value is None and name in CHANGEABLE:
            changes[name] = None
            continue
        changes[name] = parse_value(name, _merged(getattr(settings, name, None), value))
        _check_meaning(name, changes[name], settings)
    before = runtime.change(changes, principal.owner)
    for name, former in before.items():
        app_state.audit_log.write(
            "settings.changed",
            setting=name,
            before=json.dumps(former)[:MAX_AUDITED],
            value=json.dumps(json_value(getattr(settings, name)))[:MAX_AUDITED],
        )
    return _setting_list(settings)


def _merged(former: Any, value: JsonValue) -> JsonValue:
    """A new value; an object with the names of the former one that it does not have, and without those of None."""
    if not (isinstance(value, dict) and isinstance(former, dict)):
        return value
    merged = json_value(former) | value
    return {name: each for name, each in merged.items() if each is not None}


def _check_meaning(name: str, value: Any, settings: Settings) -> None:
    """Check a value against what there is on this server.

    Raises:
        NotAChoiceError, CheckpointMissingError, SamplerUnknownError, NotMultipleError: The value cannot be used.
    """
    match name:
        case "policy":
            _check_choice(name, value, _choices(name, settings) or ())
        case "checkpoint" if value != settings.configured(name):
            _in_field(name, lambda: check_checkpoint(value, settings))
        case "languages":
            for language in value:
                _check_choice(name, language, LANGUAGES)
        case "checkpoint_defaults":
            for checkpoint, defaults in value.items():
                _in_field(f"{name}.{checkpoint}", lambda: _check_defaults(checkpoint, defaults, settings))  # noqa: B023


def _check_defaults(checkpoint: str, defaults: CheckpointDefaults, settings: Settings) -> None:
    check_sampler_names(defaults.sampler, defaults.schedule)
    try:
        family = find_checkpoint(
            checkpoint, settings.home, folders=settings.current_model_folders, allow_paths=False
        ).family
    except SafelightError:  # it may come later, or only be away now
        return
    check_sides(defaults.width, defaults.height, family)


def _check_choice(field: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise NotAChoiceError(
            f"{field}: {value!r} is none of {', '.join(choices)}.",
            field=field,
            context={"choices": list(choices)},
        )


def _in_field(field: str, check: Callable[[], object]) -> None:
    """Run a check whose errors name a field of another kind of request."""
    try:
        check()
    except SafelightError as error:
        nested = error.field if field.startswith("checkpoint_defaults.") else ""
        error.field = ".".join(filter(None, (field, nested)))
        raise
