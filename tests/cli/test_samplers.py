from __future__ import annotations

import json

import pytest

from safelight.cli.samplers import samplers
from safelight.errors import UsageError


def test_every_sampler_is_listed_with_its_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    samplers(json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["samplers"]}
    assert len(rows) >= 30
    assert rows["DPM++ 2M"]["kinds"] == ["diffusion"]
    assert "karras" in rows["DPM++ 2M"]["schedules"]
    assert rows["TCD"]["eta"] == 0.3
    assert rows["Heun"]["calls_per_step"] == 2


def test_a_process_lists_its_samplers(capsys: pytest.CaptureFixture[str]) -> None:
    samplers(kind="flow")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Euler FlowMatch") for line in lines)
    assert not any(line.startswith("LMS") for line in lines)


def test_an_unknown_process() -> None:
    with pytest.raises(UsageError) as caught:
        samplers(kind="fluid")
    assert caught.value.hint == "Give one of diffusion, flow, edm, trigflow."
