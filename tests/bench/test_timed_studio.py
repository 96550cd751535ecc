from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from safelight.bench import timed_studio
from safelight.bench.timed_studio import Stopwatch, TimedStudio
from safelight.errors import ImageError
from safelight.settings import Settings
from safelight.studio import Studio


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a second whenever it is read: each check of the gate takes one."""
    monkeypatch.setattr(timed_studio, "time", SimpleNamespace(perf_counter=count().__next__))


@pytest.mark.usefixtures("looks")
def test_every_check_is_counted_once(settings: Settings, photographs: list[Path]) -> None:
    studio = TimedStudio(settings)
    moderator = studio.moderator(policy="lenient")
    assert moderator.judge(photographs[0]) == Studio(settings).moderator(policy="lenient").judge(
        photographs[0]
    )
    assert studio.gate_time.seconds == 1
    with pytest.raises(ImageError):
        moderator.judge(b"no picture")
    assert studio.gate_time.seconds == 2


@pytest.mark.usefixtures("looks")
def test_the_gate_checks_input_and_output_images(
    settings: Settings, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = tmp_path / "anything.toml"
    policy.write_text(
        'name = "anything"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 1.0, block = 1.0 }\n'
    )
    own = {"device": "cpu", "checkpoint": str(tiny("sd1")), "policy": str(policy)}
    studio = TimedStudio(settings.model_copy(update=own))
    (picture,) = studio.generate("a cat", steps=2, width=64, height=64, seed=7)
    assert studio.gate_time.seconds == 1
    assert picture.image is not None
    studio.edit(picture.image, "a dog", steps=2, strength=0.9, seed=7)
    assert studio.gate_time.seconds == 3


def test_the_time_of_a_run_is_measured() -> None:
    watch = Stopwatch()
    with watch.measure():
        sum(range(1000))
    assert 0 < watch.seconds < 1
