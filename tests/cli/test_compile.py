"""``safelight models compile``: forms for a size, on disk before pictures are generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import RunCommand
from tests.tiny import controls

from safelight.errors import BackendError
from safelight.generation.compile_child import ChildCompiler
from safelight.generation.compiling import compile_cache, compile_call, load_control_network, load_network
from safelight.models.checkpoints.parts import NamedParts
from safelight.models.controls.discovery import ControlModel
from safelight.runtime.compilation.store import Wanted
from safelight.settings import Settings

Tiny = Callable[[str], Path]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile in this process, which saves the imports of one for each network."""

    def convert(self: ChildCompiler, wanted: Wanted, urgent: bool) -> None:
        assert urgent
        if wanted.name == "text_encoder":
            raise BackendError("It has complex numbers.")
        key, call, plan = wanted.component, wanted.call, wanted.plan
        if isinstance(self._model, ControlModel):
            network = load_control_network(self._settings, self._model.path, key)
        else:
            network = load_network(self._settings, self._model.name, NamedParts(), wanted.name, key)
        compile_call(self._settings, network, key, call, plan)

    monkeypatch.setattr(ChildCompiler, "__call__", convert)


@pytest.mark.usefixtures("in_process")
def test_it_compiles_every_network_for_a_size_and_says_what_it_could_not(
    safelight: RunCommand, environment: dict[str, str], tiny: Tiny
) -> None:
    home = Path(environment["SAFELIGHT_HOME"])
    controls.controlnet(tiny("sd1"), home / "controlnet" / "canny")
    arguments = ["models", "compile", tiny("sd1"), "--size", "64x64", "--backend", "openvino"]
    ran = safelight(*arguments, "--control", "canny", "--json")
    assert ran.status == 1
    found = {form["component"]: form for form in ran.json_body["forms"]}
    assert found.keys() == {"text_encoder", "unet", "vae", "control-0"}
    assert found["unet"]["place"].startswith("2x4x8x8")
    assert found["vae"]["place"] == "decode 1x4x8x8"
    assert "text_encoder: It has complex numbers." in found["text_encoder"]["problem"]
    for name in ("unet", "vae", "control-0"):
        assert found[name]["plan"] == "openvino fp32"
        assert found[name]["size"] > 0
        assert found[name]["speedup"] > 0
        assert not found[name]["problem"]
    assert "1 of 4: text_encoder" in ran.err
    assert compile_cache(Settings(home=home)).count == 3


def test_a_backend_that_compiles_nothing_is_refused(safelight: RunCommand, tiny: Tiny) -> None:
    ran = safelight("models", "compile", tiny("sd1"), "--size", "64x64", "--backend", "eager")
    assert ran.status != 0
    assert "compiles none of the checkpoint's networks" in ran.err
