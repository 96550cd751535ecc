"""Count what a picture takes in a process of its own: for processes that do not import torch.

``python -m safelight.generation.memory_cost_child`` reads a JSON object from standard input: the settings, the
checkpoint's name, width and height (null: its default), the kind of device and the precision. Its last line on
standard output is one too: width, height, the cost and the precision; or an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

from safelight.errors import InternalError, SafelightError
from safelight.errors.lookup import error_of
from safelight.runtime.memory_plan.planner import PictureCost
from safelight.settings import Settings

TIMEOUT = 300
"""Seconds after which counting is given up."""


@dataclass(frozen=True)
class CountedPicture:
    """What a picture takes.

    Args:
        width: Its width in pixels.
        height: Its height in pixels.
        cost: What it takes.
        generation_precision: The setting of this name with which such a picture runs on this machine.
    """

    width: int
    height: int
    cost: PictureCost
    generation_precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


def count_in_child(
    settings: Settings, checkpoint: str, size: tuple[int | None, int | None], kind: str, precision: str = ""
) -> CountedPicture:
    """Count what a picture takes: seconds, and a second or two less where it was counted before.

    Args:
        settings: The precisions and the folders.
        checkpoint: The checkpoint's name.
        size: Width and height in pixels; None for its default.
        kind: The kind of device.
        precision: One that takes the place of that of the setting; empty for what a run computes in.

    Raises:
        SafelightError: The checkpoint cannot be used, or not in this size or precision.
        InternalError: Counting failed.
    """
    body = {
        "settings": settings.model_dump(mode="json"),
        "checkpoint": checkpoint,
        "size": size,
        "kind": kind,
        "precision": precision,
    }
    command = [sys.executable, "-P", "-m", __name__]
    try:
        child = subprocess.run(  # noqa: S603
            command, input=json.dumps(body), capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise InternalError(f"Counting the memory of {checkpoint} took more than {TIMEOUT} s.") from None
    try:
        found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (child.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise InternalError(f"Counting the memory of {checkpoint} failed: {last}") from None
    if error := found.get("error"):
        raise error_of(error["code"], error["message"], error.get("hint", ""))
    return CountedPicture(**found | {"cost": PictureCost.from_dict(found["cost"])})


def _count(body: dict[str, Any]) -> dict[str, Any]:
    """The child's answer."""
    from safelight.generation.memory_planning import (
        picture_cost,
        planned_checkpoint,
        planned_precisions,
        usual_plan,
    )
    from safelight.generation.precision import settings_of_run
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.hub.checkpoint_download import hub_lookup
    from safelight.runtime.compilation.speed import known_speeds

    settings = Settings.model_validate(body["settings"])
    found = find_checkpoint(
        body["checkpoint"], settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )
    planned = planned_checkpoint(found)
    width, height = body["size"]
    plan = usual_plan(planned, found.default_side(), width=width, height=height)
    speeds = known_speeds(settings.cache_folder)
    settings = settings_of_run(settings, None, planned.family, body["kind"], speeds)
    precisions = planned_precisions(settings, planned.family, body["kind"], body["precision"])
    cost = picture_cost(planned, plan, body["kind"], precisions, settings.cache_folder)
    return {
        "width": plan.width,
        "height": plan.height,
        "cost": asdict(cost),
        "generation_precision": settings.generation_precision,
    }


def main() -> None:
    """Answer one request on standard input."""
    try:
        answer = _count(json.load(sys.stdin))
    except SafelightError as error:
        answer = {"error": error.to_dict()}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
