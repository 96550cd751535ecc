from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from safelight.bench.peers import write_random_checkpoint
from safelight.errors import ClassifierUnknownError, ModelInvalidError, PolicyLabelError
from safelight.moderation.moderator import Moderator
from safelight.moderation.verdict import Judgement
from safelight.server.core import moderation_service
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.moderation_service import ModerationService
from safelight.settings import Settings
from safelight.studio import Studio


@pytest.fixture(scope="module")
def judge(settings: Settings) -> Iterator[ModerationService]:
    with (
        closing(ThreadPools()) as threads,
        closing(ModerationService(lambda: Studio(settings), lambda: threads)) as judge,
    ):
        yield judge


def test_concurrent_requests_are_judged_as_one_by_one(
    judge: ModerationService, settings: Settings, photographs: list[Path]
) -> None:
    pictures = [path.read_bytes() for path in photographs]

    async def at_once() -> list[float]:
        found = await asyncio.gather(*(judge.judge([picture]) for picture in pictures * 3))
        return [each.verdict.unsafe for (each,) in found if each.verdict is not None]

    moderator = Studio(settings).moderator()
    assert asyncio.run(at_once()) == [moderator.judge(picture).unsafe for picture in pictures] * 3


def test_the_event_loop_is_not_blocked(judge: ModerationService, photographs: list[Path]) -> None:
    async def ticks() -> int:
        judging = asyncio.ensure_future(judge.judge([photographs[0].read_bytes()] * 12))
        count = 0
        while not judging.done():
            await asyncio.sleep(0.002)
            count += 1
        await judging
        return count

    assert asyncio.run(ticks()) > 10


def test_a_bad_picture_affects_no_other(judge: ModerationService, photographs: list[Path]) -> None:
    found = asyncio.run(judge.judge([b"hello", photographs[1].read_bytes(), b""]))
    assert [each.decision for each in found] == ["error", "allow", "error"]


def test_a_defect_is_an_error_of_its_picture(judge: ModerationService, photographs: list[Path]) -> None:
    found = asyncio.run(judge.judge([object(), photographs[1].read_bytes()]))  # type: ignore[list-item]
    assert [each.decision for each in found] == ["error", "allow"]


@pytest.mark.parametrize("name", ["/etc", "nothing", "../x", "owner/name"])
def test_only_installed_classifiers_are_accepted(judge: ModerationService, name: str) -> None:
    with pytest.raises(ClassifierUnknownError):
        asyncio.run(judge.judge([b"x"], classifier=name))


def test_a_policy_that_does_not_know_the_labels(tmp_path: Path, settings: Settings) -> None:
    policy = tmp_path / "other.toml"
    policy.write_text('name = "o"\nversion = "1"\n[unsafe]\nodd = { review = 0.5, block = 0.5 }\n')
    studio = Studio(settings.model_copy(update={"policy": str(policy)}))
    with closing(ModerationService(lambda: studio, ThreadPools)) as judge, pytest.raises(PolicyLabelError):
        asyncio.run(judge.judge([b"x"]))


@pytest.mark.slow
def test_a_classifier_is_converted_in_another_process(tmp_path: Path, photographs: list[Path]) -> None:
    """Conversion needs torch, which the server's process must never import."""
    folder = write_random_checkpoint(tmp_path / "mine", "test_vit", labels=("NSFW", "SFW"))
    script = f"""
import asyncio, sys
from pathlib import Path
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.moderation_service import ModerationService
from safelight.settings import Settings
from safelight.studio import Studio

if __name__ == "__main__":
    settings = Settings(home=Path({str(tmp_path / "home")!r}), classifier={str(folder)!r},
                        backend="onnxruntime", precision="fp32")
    threads = ThreadPools()
    judge = ModerationService(lambda: Studio(settings), lambda: threads)
    (found,) = asyncio.run(judge.judge([Path({str(photographs[1])!r}).read_bytes()]))
    assert found.verdict is not None, found.error
    assert found.verdict.classifier.labels == ("NSFW", "SFW")
    assert "torch" not in sys.modules
    judge.close()
    threads.close()
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def own(settings: Settings) -> Iterator[ModerationService]:
    with (
        closing(ThreadPools()) as threads,
        closing(ModerationService(lambda: Studio(settings), lambda: threads)) as judge,
    ):
        yield judge


def test_a_slow_classifier_delays_no_other(
    own: ModerationService, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many requests need one that takes long to load: it is loaded once, and the default one judges meanwhile."""
    loaded: list[object] = []
    ready = threading.Event()
    load = ModerationService._load_moderator

    def slow(judge: ModerationService, classifier: str, policy: str) -> object:
        loaded.append((classifier, policy))
        if policy == "strict":
            ready.wait(20)
        return load(judge, classifier, policy)

    monkeypatch.setattr(ModerationService, "_load_moderator", slow)
    picture = photographs[1].read_bytes()

    async def run() -> None:
        waiting = [asyncio.create_task(own.judge([picture], policy="strict")) for _ in range(20)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()  # a cancelled request does not cancel the loading for the others
        ((judgement,), (again,)) = await asyncio.gather(own.judge([picture]), own.judge([picture]))
        assert judgement.decision == again.decision == "allow"
        assert not any(task.done() for task in waiting[1:])
        ready.set()
        found = await asyncio.gather(*waiting[1:])
        assert {each.verdict.policy.name for (each,) in found if each.verdict} == {"strict"}

    asyncio.run(run())
    assert sorted(loaded) == [("open-nsfw", "standard"), ("open-nsfw", "strict")]


def test_a_failed_load_is_not_retried_at_once(
    own: ModerationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def broken(*names: object) -> object:
        tried.append(names)
        raise ModelInvalidError("broken")

    monkeypatch.setattr(ModerationService, "_load_moderator", broken)
    for forgiven, times in ((30.0, 1), (30.0, 1), (0.0, 2)):
        monkeypatch.setattr(moderation_service, "RETRY_LOAD_AFTER", forgiven)
        with pytest.raises(ModelInvalidError):
            asyncio.run(own.judge([b"x"], policy="lenient"))
        assert len(tried) == times


def test_a_converted_classifier_starts_no_process(
    own: ModerationService, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(moderation_service, "_convert_in_subprocess", lambda _, name: begun.append(name))
    monkeypatch.setattr(Studio, "moderator", lambda *_, **__: None)
    folder = str(write_random_checkpoint(tmp_path / "mine", "test_vit", labels=("NSFW", "SFW")))
    for converted in (False, True):
        monkeypatch.setattr(moderation_service, "is_converted", lambda *_, converted=converted: converted)
        own._load_moderator(folder, None)
    assert begun == [folder]


def test_a_preview_is_judged_once(
    own: ModerationService, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes] = []
    really = ModerationService._judge_one

    async def noted(judge: ModerationService, moderator: Moderator, name: str, data: bytes) -> Judgement:
        judged.append(data)
        return await really(judge, moderator, name, data)

    monkeypatch.setattr(ModerationService, "_judge_one", noted)
    monkeypatch.setattr(moderation_service, "MAX_PREVIEWS", 1)
    one, other = (path.read_bytes() for path in photographs[1:3])

    async def many() -> list[Judgement]:
        return await asyncio.gather(*(own.judge_cached(one) for _ in range(10)))

    assert {each.decision for each in asyncio.run(many())} == {"allow"}
    assert judged == [one]
    asyncio.run(own.judge_cached(other))
    asyncio.run(own.judge_cached(one))
    assert judged == [one, other, one]  # few are remembered
