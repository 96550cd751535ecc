from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.bench.peers import write_random_checkpoint
from safelight.errors import ClassifierUnknownError, PolicyLabelError
from safelight.server.judging import Judge
from safelight.settings import Settings
from safelight.studio import Studio


@pytest.fixture(scope="module")
def judge(settings: Settings) -> Iterator[Judge]:
    judge = Judge(lambda: Studio(settings))
    yield judge
    judge.close()


def test_many_at_once_are_judged_as_one_by_one(
    judge: Judge, settings: Settings, photographs: list[Path]
) -> None:
    pictures = [path.read_bytes() for path in photographs]

    async def at_once() -> list[float]:
        found = await asyncio.gather(*(judge.judge([picture]) for picture in pictures * 3))
        return [each.verdict.unsafe for (each,) in found if each.verdict is not None]

    moderator = Studio(settings).moderator()
    assert asyncio.run(at_once()) == [moderator.judge(picture).unsafe for picture in pictures] * 3


def test_the_event_loop_goes_on_meanwhile(judge: Judge, photographs: list[Path]) -> None:
    async def ticks() -> int:
        judging = asyncio.ensure_future(judge.judge([photographs[0].read_bytes()] * 12))
        count = 0
        while not judging.done():
            await asyncio.sleep(0.002)
            count += 1
        await judging
        return count

    assert asyncio.run(ticks()) > 10


def test_a_bad_picture_spoils_no_other(judge: Judge, photographs: list[Path]) -> None:
    found = asyncio.run(judge.judge([b"hello", photographs[1].read_bytes(), b""]))
    assert [each.decision for each in found] == ["error", "allow", "error"]


def test_a_defect_is_an_error_of_its_picture(judge: Judge, photographs: list[Path]) -> None:
    found = asyncio.run(judge.judge([object(), photographs[1].read_bytes()]))  # type: ignore[list-item]
    assert [each.decision for each in found] == ["error", "allow"]


@pytest.mark.parametrize("name", ["/etc", "nothing", "../x", "owner/name"])
def test_only_installed_classifiers(judge: Judge, name: str) -> None:
    with pytest.raises(ClassifierUnknownError):
        asyncio.run(judge.judge([b"x"], classifier=name))


def test_a_policy_that_does_not_know_the_labels(tmp_path: Path, settings: Settings) -> None:
    policy = tmp_path / "other.toml"
    policy.write_text('name = "o"\nversion = "1"\n[unsafe]\nodd = { review = 0.5, block = 0.5 }\n')
    judge = Judge(lambda: Studio(settings.model_copy(update={"policy": str(policy)})))
    with pytest.raises(PolicyLabelError):
        asyncio.run(judge.judge([b"x"]))
    judge.close()


@pytest.mark.slow
def test_a_classifier_is_converted_elsewhere(tmp_path: Path, photographs: list[Path]) -> None:
    """Conversion needs torch, which the server's process must never import."""
    folder = write_random_checkpoint(tmp_path / "mine", "test_vit", labels=("NSFW", "SFW"))
    script = f"""
import asyncio, sys
from pathlib import Path
from safelight.server.judging import Judge
from safelight.settings import Settings
from safelight.studio import Studio

if __name__ == "__main__":
    settings = Settings(home=Path({str(tmp_path / "home")!r}), classifier={str(folder)!r},
                        backend="onnxruntime", precision="fp32")
    judge = Judge(lambda: Studio(settings))
    (found,) = asyncio.run(judge.judge([Path({str(photographs[1])!r}).read_bytes()]))
    assert found.verdict is not None, found.error
    assert found.verdict.classifier.labels == ("NSFW", "SFW")
    assert "torch" not in sys.modules
    judge.close()
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
