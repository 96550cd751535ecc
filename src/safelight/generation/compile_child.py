"""Compile a form of a checkpoint's, an upscaler's or a control's network in a process of its own, at a low priority.

Tracing takes as much time as several steps and holds Python's lock all the while, so a thread would stop the pictures
that are generated meanwhile. ``python -m safelight.generation.compile_child`` reads a JSON object from standard input
and leaves the form in the cache folder; its last line on standard output is a JSON object with an error or without.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.errors import BackendError, MemoryBudgetError, SafelightError
from safelight.errors.lookup import error_of
from safelight.generation.upscaling import UpscalerFile
from safelight.generation.upscaling.scale_factor import read_scale_factor
from safelight.models.controls.discovery import ControlModel
from safelight.runtime.backends import BACKENDS
from safelight.runtime.devices import device_of
from safelight.runtime.devices.memory import host_memory
from safelight.settings import Settings

if TYPE_CHECKING:
    from torch import nn

    from safelight.models.checkpoints.discovery import Checkpoint
    from safelight.runtime.compilation.store import Wanted
    from safelight.runtime.component import ComponentKey

LOW_PRIORITY = 10
"""The niceness of a child that nobody waits for: it takes a tenth of a core's time where a picture needs all of it."""
LIBRARY_BYTES = 2**30
UPSCALED_PIXEL_BYTES = 8192
"""What the networks of upscalers take for a pixel of a tile's result, eagerly and in a form: 2.2 GB were measured for
512 x 512 pixels of an RRDB network, and other tensors are small beside those of its last layers."""


class ChildCompiler:
    """Converts forms of networks in child processes, which end when this process ends.

    Args:
        settings: The data directory, the folders of models, the precisions.
        model: What the networks are of.
    """

    def __init__(self, settings: Settings, model: Checkpoint | UpscalerFile | ControlModel) -> None:
        self._settings, self._model = settings, model

    def __call__(self, wanted: Wanted, urgent: bool) -> None:
        """Convert a form and leave it on disk.

        Args:
            wanted: The form.
            urgent: Whether somebody waits for it, so that the priority is not lowered.

        Raises:
            MemoryBudgetError: The memory that is free now is too small.
            SafelightError: The model was replaced, the engine cannot convert the network, or the child failed.
        """
        import torch

        on_device = device_of(torch.device(wanted.plan.device)).memory().free
        needed, free = (
            int(BACKENDS[wanted.plan.backend].copies * wanted.nbytes)
            + self._activation_bytes(wanted)
            + LIBRARY_BYTES,
            min(host_memory().free, on_device),
        )
        if needed > free:
            raise MemoryBudgetError(
                f"Compiling the {wanted.name} takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free."
            )
        body = json.dumps(self._body(wanted) | {"nice": 0 if urgent else LOW_PRIORITY})
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", __name__],
            # Threads that keep a core busy while they wait would slow down what is generated meanwhile.
            env={"OMP_WAIT_POLICY": "passive"} | os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            output, errors = child.communicate(body)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        try:
            answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            last = (errors.strip().splitlines() or [f"it ended with code {child.returncode}"])[-1][:300]
            raise BackendError(f"Compiling the {wanted.name} failed: {last}") from None
        if error := answer.get("error"):
            raise error_of(error["code"], error["message"], error.get("hint", ""))

    def _activation_bytes(self, wanted: Wanted) -> int:
        """What the values within a network take; but for upscalers they are small beside its weights."""
        if not isinstance(self._model, UpscalerFile):
            return 0
        *_, height, width = wanted.call.tensors[0].shape
        scale = read_scale_factor(self._model.path) or 4
        return int(height * width * scale**2 * UPSCALED_PIXEL_BYTES)

    def _body(self, wanted: Wanted) -> dict[str, Any]:
        from safetensors.torch import save

        from safelight.runtime.patching import describe_patch

        tensors = {str(index): tensor.contiguous() for index, tensor in enumerate(wanted.call.tensors)}
        return {
            "settings": self._settings.model_dump(mode="json"),
            "model": _describe(self._model),
            "component": wanted.name,
            "key": asdict(wanted.component),
            "method": wanted.call.method,
            "structure": wanted.call.structure,
            "patches": [describe_patch(patch) for patch in wanted.call.patches],
            "tensors": base64.b64encode(save(tensors)).decode(),
            "plan": asdict(wanted.plan),
            "least_speedup": wanted.least_speedup,
            "parent": os.getpid(),
        }


def _describe(model: Checkpoint | UpscalerFile | ControlModel) -> dict[str, Any]:
    """What another process finds a model by."""
    if isinstance(model, UpscalerFile):
        return {"upscaler": str(model.path)}
    if isinstance(model, ControlModel):
        return {"control": str(model.path)}
    named = {part.component: str(part.path) for part in model.parts if part.chosen == "named"}
    return {"checkpoint": model.name, "parts": named}


def compile_form(body: Mapping[str, Any]) -> None:
    """Load one network, and compile a form of it.

    Raises:
        SafelightError: The model or the component cannot be used, or the engine cannot convert it.
    """
    import torch
    from safetensors.torch import load

    from safelight.generation.compiling import compile_call, is_worthwhile
    from safelight.runtime.backends import BackendPlan
    from safelight.runtime.compilation.values import NetworkCall
    from safelight.runtime.component import ComponentKey
    from safelight.runtime.patching import make_patch

    settings = Settings.model_validate(body["settings"])
    plan = BackendPlan(**body["plan"])
    torch.set_num_threads(plan.threads)
    if body["least_speedup"] and not is_worthwhile(settings, body["component"], plan):
        return  # it was measured only now, and the next picture asks for the form of another backend
    tensors = load(base64.b64decode(body["tensors"]))
    call = NetworkCall(
        body["method"],
        body["structure"],
        tuple(tensors[str(index)] for index in range(len(tensors))),
        tuple(map(make_patch, body["patches"])),
    )
    key = ComponentKey(**{**body["key"], "patches": tuple(body["key"]["patches"])})
    network = _load_network(settings, body["model"], body["component"], key)
    compile_call(settings, network, key, call, plan)


def _load_network(
    settings: Settings, model: Mapping[str, Any], component: str, key: ComponentKey
) -> nn.Module:
    from safelight.generation.compiling import load_control_network, load_network, load_upscaler_network
    from safelight.models.checkpoints.parts import NamedParts

    if "upscaler" in model:
        return load_upscaler_network(settings, UpscalerFile.at(Path(model["upscaler"])), key)
    if "control" in model:
        return load_control_network(settings, Path(model["control"]), key)
    named = dict(model["parts"])
    parts = NamedParts(named.pop("vae", None), tuple(named.values()))
    return load_network(settings, model["checkpoint"], parts, component, key)


def _follow_parent(parent: int) -> None:
    """End this process when its parent ends: nobody would wait for the result."""
    stopped = threading.Event()
    while os.getppid() == parent:
        stopped.wait(1)
    os._exit(1)


def main() -> None:
    """Compile what standard input describes."""
    body = json.load(sys.stdin)
    threading.Thread(target=_follow_parent, args=(body["parent"],), daemon=True).start()
    with suppress(OSError, AttributeError):  # not on Windows
        os.nice(body["nice"])
    answer: dict[str, Any] = {}
    try:
        compile_form(body)
    except SafelightError as error:
        answer = {"error": error.to_dict()}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
