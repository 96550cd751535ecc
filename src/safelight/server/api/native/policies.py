"""``/v1/policies``: the thresholds that turn scores into decisions."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from safelight.errors import PolicyError, SafelightError
from safelight.logs import get_logger
from safelight.moderation.policy import PRESETS, Policy
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.moderation import PolicyList, PolicyRules, ThresholdsView
from safelight.server.api.openapi_examples import POLICIES
from safelight.server.core.app_state import CurrentAppState

router = APIRouter(prefix="/v1", tags=["moderation"])


@router.get(
    "/policies",
    operation_id="list_policies",
    summary="List policies",
    responses=error_responses(PolicyError) | example_response(POLICIES),
)
async def list_policies(app_state: CurrentAppState) -> PolicyList:
    """The presets, which ``/v1/moderate`` takes by name, and the server's own policy where it is another."""
    return PolicyList(policies=await asyncio.to_thread(_policies, app_state.service.settings.policy))


def _policies(chosen: str) -> list[PolicyRules]:
    found = [_rules(Policy.load(name), default=name == chosen) for name in PRESETS]
    return found if chosen in PRESETS else [*found, _rules(_load_own(chosen), default=True)]


def _load_own(path: str) -> Policy:
    """The server's policy from a file. Errors do not show its path."""
    try:
        return Policy.load(path)
    except SafelightError as error:
        get_logger(__name__).error("the policy cannot be used", error=error.message)
        raise PolicyError(
            "The server's own policy cannot be used.", hint="Its administrator finds the reason in the log."
        ) from error


def _rules(policy: Policy, *, default: bool) -> PolicyRules:
    return PolicyRules(
        name=policy.name,
        version=policy.version,
        description=policy.description,
        abstain=policy.abstain,
        unsafe={label: ThresholdsView.model_validate(limits) for label, limits in policy.unsafe.items()},
        safe=sorted(policy.safe),
        default=default,
    )
