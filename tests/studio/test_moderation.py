from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import safelight
from safelight.errors import (
    ClassifierUnknownError,
    ExplanationUnsupportedError,
    FileMissingError,
    ImageTooManyPixelsError,
    MemoryBudgetError,
    ModelInvalidError,
    OutputExistsError,
    PolicyLabelError,
)
from safelight.moderation import Policy
from safelight.moderation.classifiers import loading
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.settings import Settings
from safelight.studio import Studio
from safelight.studio import studio as module


@pytest.fixture(scope="module")
def studio(exact_settings: Settings) -> Studio:
    return Studio(exact_settings)


def test_every_kind_of_source_gets_the_same_verdict(studio: Studio, photographs: list[Path]) -> None:
    for path in photographs:
        with Image.open(path) as picture:
            array = np.asarray(picture.convert("RGB"))
            sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), picture, array]
            verdicts = [studio.moderate(source) for source in sources]
        verdicts.append(studio.moderate(io.BytesIO(path.read_bytes())))
        with path.open("rb") as file:
            verdicts.append(studio.moderate(file))
        assert all(verdict.scores == verdicts[0].scores for verdict in verdicts)
        assert all(verdict.decision == "allow" for verdict in verdicts)
        for verdict in verdicts:
            np.testing.assert_array_equal(verdict.embedding, verdicts[0].embedding)


def test_a_scan_gives_judgements_in_order(studio: Studio, photographs: list[Path], tmp_path: Path) -> None:
    for path in photographs:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"")
    judged = list(studio.scan(tmp_path))
    assert [Path(j.path).stem for j in judged] == [
        "astronaut",
        "broken",
        "cat",
        "coffee",
        "galaxies",
        "rocket",
    ]
    assert [j.decision for j in judged] == ["allow", "error", "allow", "allow", "allow", "allow"]
    for judgement in judged:
        if judgement.verdict:
            assert judgement.verdict == studio.moderate(judgement.path)


def test_a_scan_into_a_report(studio: Studio, photographs: list[Path], tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    judged = list(studio.scan(photographs[0].parent, report=report, policy="strict"))
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert rows == [j.to_dict() for j in judged]
    assert {row["policy"]["name"] for row in rows} == {"strict"}
    with pytest.raises(OutputExistsError):
        list(studio.scan(photographs[0].parent, report=report))


def test_a_stopped_scan_resumes(studio: Studio, photographs: list[Path], tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    started = studio.scan(photographs[0].parent, report=report)
    next(started)
    started.close()
    assert not report.exists()
    rest = list(studio.scan(photographs[0].parent, report=report, resume=True))
    assert 0 < len(rest) < 5
    assert len(report.read_text().splitlines()) == 6


def test_a_classifier_is_loaded_once_by_many_threads(
    settings: Settings, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = module.load_classifier

    def slow(settings: Settings, name: str, **options: Any) -> Any:
        loads.append(name)
        time.sleep(0.1)
        return load(settings, name, **options)

    monkeypatch.setattr(module, "load_classifier", slow)
    studio = Studio(settings)
    gate = threading.Barrier(8)

    def ask(number: int) -> Any:
        gate.wait()
        return studio.moderate(photographs[number % 5])

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(ask, range(8)))
    assert loads == ["open-nsfw"]
    assert verdicts[:3] == verdicts[5:]
    assert studio.classifier() is studio.classifier("open-nsfw")


def test_a_policy_by_name_file_or_object(studio: Studio, photographs: list[Path], tmp_path: Path) -> None:
    toml = 'name = "none"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 0.0 }\n'
    (tmp_path / "none.toml").write_text(toml)
    for policy in (tmp_path / "none.toml", str(tmp_path / "none.toml"), Policy.parse(toml)):
        verdict = studio.moderate(photographs[0], policy=policy)
        assert (verdict.decision, verdict.policy.name) == ("block", "none")
    assert studio.moderate(photographs[0], policy="lenient").policy.name == "lenient"
    assert studio.moderate(photographs[0]).policy.name == "standard"


def test_settings_reach_the_moderator(exact_settings: Settings, photographs: list[Path]) -> None:
    changes = {
        "max_pixels": 1000,
        "max_frames": 3,
        "background": (0, 0, 0),
        "tiles": True,
        "policy": "strict",
    }
    studio = Studio(exact_settings.model_copy(update=changes))
    moderator = studio.moderator()
    assert (moderator.limits.max_pixels, moderator.limits.max_frames) == (1000, 3)
    assert moderator.limits.background == (0, 0, 0)
    assert moderator.tiles
    assert moderator.policy == Policy.load("strict")
    with pytest.raises(ImageTooManyPixelsError):
        studio.moderate(photographs[0])
    with pytest.raises(ImageTooManyPixelsError):
        studio.explain(photographs[0])


def test_invalid_arguments(studio: Studio, photographs: list[Path]) -> None:
    with pytest.raises(ClassifierUnknownError):
        studio.moderate(photographs[0], classifier="nonsense")
    with pytest.raises(FileMissingError):
        studio.moderate(photographs[0], policy="nonsense")
    with pytest.raises(FileMissingError):
        studio.moderate("nowhere.jpg")
    with pytest.raises(ExplanationUnsupportedError):
        studio.explain(photographs[0], classifier="owner/name")
    gore = Policy.parse('name = "x"\nversion = "1"\n[unsafe]\ngore = { review = 0.1, block = 0.2 }\n')
    with pytest.raises(PolicyLabelError):
        studio.moderate(photographs[0], policy=gore)


def test_an_explanation_has_the_same_score(studio: Studio, photographs: list[Path]) -> None:
    explanation = studio.explain(photographs[0])
    assert explanation.unsafe == pytest.approx(studio.moderate(photographs[0]).unsafe, abs=1e-6)
    assert explanation.contributions.shape == (7, 7)


def test_the_explainer_is_loaded_once(studio: Studio) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: studio.explainer(), range(8)))
    assert len({id(explainer) for explainer in made}) == 1
    assert studio.explainer("open-nsfw") is made[0]


def test_settings_are_loaded_from_everywhere_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "safelight.toml").write_text('policy = "strict"')
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    assert Studio().settings.policy == "strict"


def test_the_packages_public_names() -> None:
    assert safelight.Studio is Studio
    assert safelight.Policy is Policy
    assert safelight.Settings is Settings
    judging = {"Decision", "Policy", "Settings", "Studio", "Verdict", "__version__"}
    assert set(safelight.__all__) == judging | {"GenerationRequest", "Picture"}
    assert all(getattr(safelight, name) is not None for name in safelight.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Painter'"):
        _ = safelight.Painter


def test_importing_the_package_loads_no_engine_and_judging_no_torch(
    photographs: list[Path], home: Path
) -> None:
    script = f"""
import sys
import safelight
heavy = {{"numpy", "PIL", "onnxruntime", "openvino", "torch", "pydantic"}}
print(sorted(heavy & set(sys.modules)))
studio = safelight.Studio(safelight.Settings(home={str(home)!r}, backend="onnxruntime", precision="fp32"))
print(studio.moderate({str(photographs[0])!r}).decision)
print(sorted({{"torch", "timm", "torchvision", "openvino", "huggingface_hub", "pyarrow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nallow\n[]\n"


def test_an_idle_classifier_is_evicted_and_loaded_again(
    settings: Settings, photographs: list[Path], tmp_path: Path
) -> None:
    studio = Studio(settings)
    first = studio.moderate(photographs[0])
    (key,) = studio._pool.keys
    assert key == ComponentKey(first.classifier.digest, "fp32", "onnxruntime")
    network = ComponentSource(
        ComponentKey("another", "fp32"), 1, lambda: Component(ComponentKey("another", "fp32"), None, 1)
    )
    with studio._pool.lease([network], studio._pool.budget - 30_000_000):
        assert studio._pool.keys == [key, network.key]
    with studio._pool.lease([network], studio._pool.budget - 20_000_000):
        assert studio._pool.keys == [network.key]
    assert studio.moderate(photographs[0]) == first
    assert set(studio._pool.keys) == {key, network.key}
    studio.unload()
    assert not studio._pool.keys
    assert studio.moderate(photographs[0]) == first


def test_a_classifier_counts_in_the_memory_budget(settings: Settings, photographs: list[Path]) -> None:
    small = Studio(settings.model_copy(update={"memory_budget": 10**7}))
    with pytest.raises(MemoryBudgetError, match=r"the budget is 0\.01 GB"):
        small.moderate(photographs[0])


def test_a_classifier_waits_for_memory_that_a_picture_uses(
    settings: Settings, photographs: list[Path]
) -> None:
    studio = Studio(settings)
    expected = studio.moderate(photographs[0])
    key = ComponentKey("another", "fp32")
    network = ComponentSource(key, 1, lambda: Component(key, None, 1))
    with ThreadPoolExecutor(1) as threads:
        with studio._pool.lease([network], studio._pool.budget - 1):
            verdict = threads.submit(studio.moderate, photographs[0])
            with pytest.raises(TimeoutError):
                verdict.result(0.2)
            assert studio._pool.has_waiters
        assert verdict.result(30) == expected


def test_everything_else_can_be_used_while_a_classifier_waits_for_memory(
    settings: Settings, photographs: list[Path]
) -> None:
    studio, key = Studio(settings), ComponentKey("another", "fp32")
    network = ComponentSource(key, 1, lambda: Component(key, None, 1))
    with ThreadPoolExecutor(2) as threads:
        with studio._pool.lease([network], studio._pool.budget - 1):
            verdict = threads.submit(studio.moderate, photographs[0])
            wait_until(lambda: studio._pool.has_waiters)
            assert threads.submit(studio.explain, photographs[0]).result(10).unsafe < 0.5
            assert threads.submit(lambda: studio.engine).result(60) is studio.engine
            assert not verdict.done()
        assert verdict.result(30).decision == "allow"


def test_a_thread_that_leases_memory_does_not_wait_for_one_that_waits_for_it(
    settings: Settings, photographs: list[Path]
) -> None:
    """As when a picture's progress callback moderates with a classifier that another thread is loading."""
    studio, key, errors = Studio(settings), ComponentKey("another", "fp32"), list[Exception]()
    network = ComponentSource(key, 1, lambda: Component(key, None, 1))

    def moderate_while_leasing() -> None:
        with studio._pool.lease([network], studio._pool.budget - 1):
            leased.set()
            wait_until(lambda: studio._pool.has_waiters)
            try:
                studio.moderate(photographs[0])
            except MemoryBudgetError as error:
                errors.append(error)

    leased, verdicts = threading.Event(), list[Any]()
    leasing = threading.Thread(target=moderate_while_leasing, daemon=True)
    waiting = threading.Thread(target=lambda: verdicts.append(studio.moderate(photographs[0])), daemon=True)
    leasing.start()
    assert leased.wait(10)
    waiting.start()
    for thread in (leasing, waiting):
        thread.join(30)
    assert len(errors) == 1
    assert verdicts[0].decision == "allow"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_classifier_that_was_replaced_while_it_was_evicted_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, photographs: list[Path]
) -> None:
    studio = Studio(settings)
    studio.moderate(photographs[0])
    studio.unload()
    definition = loading.load_definition(settings, "open-nsfw")
    monkeypatch.setattr(loading, "load_definition", lambda *_: replace(definition, digest="0" * 64))
    with pytest.raises(ModelInvalidError, match="were replaced while it was in use"):
        studio.moderate(photographs[0])
