"""Batching of whole images: which are batched, which are not, and that each is what it would be alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.generation.conftest import SIDE, loaded_checkpoint, same_pixels, to_array
from tests.tiny.generation import INIT_IMAGE, MASK
from torch import nn

from safelight.errors import MemoryBudgetError, NonFiniteError, RunStoppedError
from safelight.generation.artifact import Artifact
from safelight.generation.comparison import within_tolerance
from safelight.generation.engine import Engine, decoding_bytes
from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.settings import Settings

Tiny = Callable[[str], Path]
PATIENCE = 30
WAIT = 1000
"""Milliseconds for which a step waits for others here: ample on a busy machine, and hardly ever used up."""


@pytest.fixture(scope="module")
def engine(drawing_home: Path) -> Engine:
    """An engine with a longer batching timeout, so that a busy machine changes nothing."""
    return Engine(Settings(home=drawing_home, device="cpu", memory_budget=4 * 10**9, batch_timeout=WAIT))


@pytest.fixture
def ask(tiny: Tiny) -> Callable[..., GenerationRequest]:
    def request(name: str = "sd1", **fields: Any) -> GenerationRequest:
        usual = {"prompt": "a red cat", "seed": 7, "steps": 4, "checkpoint": str(tiny(name))}
        if "init_image" not in fields:
            usual |= {"width": SIDE, "height": SIDE}
        return GenerationRequest.parse(**(usual | fields))

    return request


Ask = Callable[..., GenerationRequest]


@contextmanager
def recorded_calls(engine: Engine, *names: Path) -> Iterator[list[int]]:
    """The rows of each call that reaches the shared denoisers."""
    rows: list[int] = []
    handles = []
    for name in names:
        loaded = loaded_checkpoint(engine, name)
        denoiser: Any = loaded.components[loaded.family.denoiser]

        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            rows.append(len(next(iter((*args, *kwargs.values())))))

        handles.append(denoiser.register_forward_pre_hook(note, with_kwargs=True))
    yield rows
    for handle in handles:
        handle.remove()


def generate_together(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    watchers: Sequence[Watcher] = (),
    alone: Sequence[int] = (),
) -> list[Artifact | Exception]:
    """Generate requests of one image each at the same time: none goes beyond its first step before all have made it."""
    ready = threading.Barrier(len(requests))

    def draw(number: int) -> Artifact | Exception:
        watcher = watchers[number] if watchers else Watcher()
        begun: list[object] = []

        def tell(progress: Any) -> None:
            if not begun:
                begun.append(progress)
                ready.wait(PATIENCE)
            watcher.on_progress(progress)

        told = Watcher(tell, watcher.should_stop, watcher.keep_partial)
        try:
            return next(engine.generate(requests[number], told, unbatched=number in alone))
        except Exception as error:  # noqa: BLE001  the test checks it
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(draw, range(len(requests))))


def nearly_equal(drawn: Sequence[Artifact | Exception], expected: Sequence[Artifact]) -> bool:
    """Whether the images are the same within the tolerance, whose fraction is that of the values of all of them.

    A single tiny image has so few values that three which are rounded otherwise, as they may be on a processor with
    other vector units, are more than the fraction.
    """
    assert len(drawn) == len(expected)
    assert not [each for each in drawn if isinstance(each, Exception)]
    made = [to_array(each) for each in drawn if isinstance(each, Artifact)]
    wanted = [to_array(each) for each in expected]
    assert [each.shape for each in made] == [each.shape for each in wanted]
    return within_tolerance(*(np.concatenate([each.ravel() for each in side]) for side in (made, wanted)))


def generate_alone(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Artifact]:
    drawn = [next(engine.generate(request)) for request in requests]
    assert not any(each.record.batched for each in drawn)
    return drawn


def test_different_images_are_batched_and_are_the_same_within_tolerance(
    engine: Engine, ask: Ask, tiny: Tiny
) -> None:
    requests = [
        ask(prompt="a red cat", seed=1, sampler="DPM++ 2M"),
        ask(prompt="a [blue|green] dog", seed=2, sampler="Euler a", steps=6, negative_prompt="red"),
        ask(prompt="", seed=3, sampler="DDIM", eta=0.5, guidance_scale=9),
        ask(prompt="a (red:1.4) sun", seed=4, sampler="DPM++ SDE", guidance_rescale=0.6),
        ask(prompt="water", seed=5, sampler="Heun", steps=5),
        ask(prompt="fire", seed=6, sampler="LCM", guidance_scale=1),
    ]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny("sd1")) as rows:
        drawn = generate_together(engine, requests)
    assert nearly_equal(drawn, expected)
    assert all(each.record.batched for each in drawn if isinstance(each, Artifact))
    assert max(rows) == 5 * 2 + 1
    made = [{**each.record.to_dict(), "batched": False} for each in drawn if isinstance(each, Artifact)]
    assert made == [each.record.to_dict() for each in expected]


def test_every_mode_is_batched_with_every_other(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [
        ask(seed=1),
        ask(seed=2, init_image=INIT_IMAGE, strength=0.9),
        ask(seed=3, init_image=INIT_IMAGE, mask=MASK, inpaint={"blur": 0}),
        ask(seed=4, hires={"scale": 1.5, "strength": 0.8}),
        ask(seed=5, guidance_end=0.5),
    ]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny("sd1")) as rows:
        drawn = generate_together(engine, requests)
    assert nearly_equal(drawn, expected)
    assert max(rows) == 10
    assert 9 in rows  # without the half that the last one leaves out


EDIT = {"init_image": INIT_IMAGE, "strength": 0.7}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {})
        for name in ("sdxl", "kolors", "sd3", "flux", "flux2", "qwen-image", "hunyuan-dit", "sd1-lcm")
    ),
    ("z-image", EDIT),
    ("z-image-omni", {}),
    ("z-image-omni", {"references": [{"image": INIT_IMAGE}]}),
    ("hidream", {"prompt": "a red cat"}),  # the same prompt: its embeddings' rows are not on the first axis
    *((name, {}) for name in ("hidream", "ernie-image", "kandinsky5")),
]


@pytest.mark.parametrize(("name", "fields"), FAMILIES)
def test_families(name: str, fields: dict[str, Any], engine: Engine, ask: Ask, tiny: Tiny) -> None:
    prompts = ["a red cat", "a fat dog"]
    requests = [ask(name, **{"prompt": prompt, "seed": seed} | fields) for seed, prompt in enumerate(prompts)]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny(name)) as rows:
        drawn = generate_together(engine, requests)
    assert nearly_equal(drawn, expected)
    assert not same_pixels(*expected)
    assert max(rows) == 2 * min(rows)


def test_images_join_and_leave(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    """The second one starts while the first runs, and continues when that is finished."""
    requests = [ask(seed=1, steps=6), ask(seed=2, steps=7)]
    expected = generate_alone(engine, requests)
    second_calls, first_waits = threading.Event(), threading.Event()

    def wait(progress: Any) -> None:
        if progress.step == 3:
            first_waits.set()
            assert second_calls.wait(PATIENCE)

    def asked_before_its_first_call() -> bool:
        second_calls.set()
        return False

    def late() -> Artifact:
        assert first_waits.wait(PATIENCE)
        return next(engine.generate(requests[1], Watcher(should_stop=asked_before_its_first_call)))

    with recorded_calls(engine, tiny("sd1")) as rows, ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: next(engine.generate(requests[0], Watcher(wait))))
        second = pool.submit(late)
        drawn = [first.result(), second.result()]
    assert rows[:3] == [2, 2, 2]
    assert rows[-3:] == [2, 2, 2]
    assert max(rows) == 4
    assert sum(rows) == 2 * (6 + 7)
    assert nearly_equal(drawn, expected)
    assert [each.record.batched for each in drawn] == [True, True]


@pytest.mark.parametrize("keep", [False, True])
def test_a_stopped_image_stops_within_a_step_and_affects_no_other(
    keep: bool, engine: Engine, ask: Ask, tiny: Tiny
) -> None:
    requests = [ask(seed=seed, steps=8) for seed in range(3)]
    expected = generate_alone(engine, requests)
    told: list[int] = []
    stopped = Watcher(lambda each: told.append(each.step), lambda: len(told) >= 3, keep)
    with recorded_calls(engine, tiny("sd1")) as rows:
        drawn = generate_together(engine, requests, [Watcher(), stopped, Watcher()])
    if keep:
        assert isinstance(drawn[1], Artifact)
        assert drawn[1].stopped_at == 3
    else:
        assert isinstance(drawn[1], RunStoppedError)
    assert told == [1, 2, 3]
    assert nearly_equal(drawn[::2], expected[::2])
    assert max(rows) == 6
    assert sum(rows) == 2 * (8 + 8 + 3)


def test_a_failing_image_fails_alone(engine: Engine, ask: Ask) -> None:
    requests = [ask(seed=seed) for seed in range(3)]
    expected = generate_alone(engine, requests)

    def fail(progress: Any) -> None:
        if progress.step == 2:
            _ = 1 / 0

    drawn = generate_together(engine, requests, [Watcher(), Watcher(fail), Watcher()])
    assert isinstance(drawn[1], ZeroDivisionError)
    assert nearly_equal(drawn[::2], expected[::2])
    assert same_pixels(*generate_alone(engine, requests[:1]), expected[0])


@contextmanager
def failing_large_calls(engine: Engine, checkpoint: Path, most: int, error: Exception) -> Iterator[None]:
    """Make calls of more rows fail meanwhile."""

    def fail(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(next(iter((*args, *kwargs.values())))) > most:
            raise error

    unet: Any = loaded_checkpoint(engine, checkpoint).components["unet"]
    handle = unet.register_forward_pre_hook(fail, with_kwargs=True)
    yield
    handle.remove()


def test_an_error_in_every_call_reaches_every_image(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [ask(seed=seed) for seed in range(3)]
    with failing_large_calls(engine, tiny("sd1"), 1, NonFiniteError()):
        drawn = generate_together(engine, requests)
    assert all(isinstance(each, NonFiniteError) for each in drawn)
    assert len(generate_alone(engine, requests)) == 3


def test_where_memory_is_short_images_are_computed_one_by_one(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [ask(seed=seed) for seed in range(3)]
    expected = generate_alone(engine, requests)
    with failing_large_calls(engine, tiny("sd1"), 2, torch.OutOfMemoryError()):
        drawn = generate_together(engine, requests)
    for one, other in zip(drawn, expected, strict=True):
        assert isinstance(one, Artifact)
        assert same_pixels(one, other)
        assert one.record == other.record


def test_a_request_for_exact_results_is_computed_alone(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [ask(seed=seed, sampler="Euler a") for seed in range(3)]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny("sd1")) as rows:
        drawn = generate_together(engine, requests, alone=[1])
    assert max(rows) == 4
    assert isinstance(drawn[1], Artifact)
    assert same_pixels(drawn[1], expected[1])
    assert drawn[1].record == expected[1].record
    assert nearly_equal(drawn[::2], expected[::2])


def test_perturbed_attention_is_computed_alone(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [ask(seed=1), ask(seed=2, pag_scale=3, prompt="[red:blue:2] cat"), ask(seed=3)]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny("sd1")) as rows:
        drawn = generate_together(engine, requests)
    assert max(rows) == 4
    assert isinstance(drawn[1], Artifact)
    assert same_pixels(drawn[1], expected[1])
    assert not drawn[1].record.batched
    assert nearly_equal(drawn[::2], expected[::2])


def test_two_checkpoints_at_once(engine: Engine, ask: Ask, tiny: Tiny) -> None:
    requests = [ask(name, seed=seed) for seed, name in enumerate(["sd1", "sdxl", "sd1", "sdxl"])]
    expected = generate_alone(engine, requests)
    with recorded_calls(engine, tiny("sd1"), tiny("sdxl")) as rows:
        drawn = generate_together(engine, requests)
    assert nearly_equal(drawn, expected)
    assert max(rows) == 4


def test_two_checkpoints_in_a_budget_for_one(ask: Ask, engine: Engine, drawing_home: Path) -> None:
    names = ("sd1", "sd2")
    requests = [ask(name, seed=seed, width=32, height=32) for seed in range(3) for name in names]
    expected = generate_alone(engine, requests)
    loaded = [loaded_checkpoint(engine, request.checkpoint) for request in requests[:2]]
    room = decoding_bytes(loaded[0], 32, 32)
    budget = max(each.nbytes for each in loaded) + 2 * room + min(each.nbytes for each in loaded) // 2
    small = Engine(Settings(home=drawing_home, device="cpu", memory_budget=budget))
    with ThreadPoolExecutor(len(requests)) as pool:
        drawn = list(pool.map(lambda request: next(small.generate(request)), requests))
    assert nearly_equal(drawn, expected)


@pytest.mark.parametrize(("limit", "most"), [("memory", 2), ("setting", 3), ("one", 1)])
def test_the_batch_size_is_limited(
    limit: str, most: int, ask: Ask, tiny: Tiny, engine: Engine, drawing_home: Path
) -> None:
    requests = [ask(seed=seed) for seed in range(6)]
    loaded = loaded_checkpoint(engine, tiny("sd1"))
    room = decoding_bytes(loaded, SIDE, SIDE)
    chosen: dict[str, Any] = {
        "memory": {"memory_budget": loaded.nbytes + 2 * room + room // 2},
        "setting": {"max_batch_size": 3},
        "one": {"max_batch_size": 1},
    }[limit]
    bounded = Engine(Settings(home=drawing_home, device="cpu", batch_timeout=WAIT, **chosen))
    with recorded_calls(bounded, tiny("sd1")) as rows, ThreadPoolExecutor(6) as pool:
        drawn = list(pool.map(lambda request: next(bounded.generate(request)), requests))
    assert max(rows) <= 2 * most
    assert sum(rows) == 2 * 4 * 6
    if most == 1:
        expected = generate_alone(engine, requests)
        assert all(same_pixels(*pair) for pair in zip(drawn, expected, strict=True))
        assert not any(each.record.batched for each in drawn)


def test_an_image_too_large_for_the_memory_is_refused_while_others_run(
    ask: Ask, tiny: Tiny, engine: Engine, drawing_home: Path
) -> None:
    loaded = loaded_checkpoint(engine, tiny("sd1"))
    budget = loaded.nbytes + decoding_bytes(loaded, SIDE, SIDE)
    small = Engine(Settings(home=drawing_home, device="cpu", memory_budget=budget))
    errors: list[Exception] = []

    def refused(_: object) -> None:
        try:
            next(small.generate(ask(width=2 * SIDE)))
        except MemoryBudgetError as error:
            errors.append(error)

    assert next(small.generate(ask(steps=2), Watcher(refused))).stopped_at is None
    assert len(errors) == 2


def test_a_single_image_waits_for_no_other(engine: Engine, ask: Ask) -> None:
    next(engine.generate(ask()))
    began = time.monotonic()
    next(engine.generate(ask(steps=20)))
    assert time.monotonic() - began < 20 * WAIT / 1000 / 2


@pytest.mark.parametrize("stop_after", [2, 99])
def test_an_image_that_is_decoded_is_not_waited_for(
    stop_after: int, engine: Engine, ask: Ask, tiny: Tiny
) -> None:
    vae: Any = loaded_checkpoint(engine, tiny("sd1")).components["vae"]
    told: list[Any] = []
    members: list[int] = []
    handle = vae.decoder.register_forward_pre_hook(lambda *_: members.append(engine._executor._member_count))
    next(engine.generate(ask(), Watcher(told.append, lambda: len(told) >= stop_after, keep_partial=True)))
    handle.remove()
    assert len(told) == min(stop_after, 4)
    assert members == [0]


def test_others_continue_while_an_image_is_judged(engine: Engine, ask: Ask) -> None:
    drawn: list[Artifact] = []
    previews: list[tuple[int, int]] = []

    def look(progress: Any) -> None:
        previews.append(progress.preview().size)
        if not drawn:
            drawn.append(next(engine.generate(ask(seed=8, steps=2))))  # in this very thread

    (outer,) = engine.generate(ask(seed=7), Watcher(look))
    assert previews == [(SIDE // 8, SIDE // 8)] * 4
    assert same_pixels(drawn[0], *generate_alone(engine, [ask(seed=8, steps=2)]))
    assert same_pixels(outer, *generate_alone(engine, [ask(seed=7)]))


def test_eight_pictures_of_the_starter(drawing_home: Path) -> None:
    samplers = ["DPM++ 2M", "Euler a", "DDIM", "DPM++ SDE", "Heun", "UniPC", "DPM++ 2M SDE", "DPM2 a"]
    prompts = ["a red apple", "a blue car", "a cat", "trees", "a rocket", "a dog", "the sun", "a house"]
    requests = [
        GenerationRequest.parse(prompt=prompt, sampler=sampler, seed=seed, steps=4 + seed % 2)
        for seed, (prompt, sampler) in enumerate(zip(prompts, samplers, strict=True))
    ]
    engine = Engine(Settings(home=drawing_home, device="cpu", batch_timeout=WAIT))
    expected = generate_alone(engine, requests)
    drawn = generate_together(engine, requests)
    assert nearly_equal(drawn, expected)
    assert all(each.record.batched for each in drawn if isinstance(each, Artifact))
    assert all(np.ptp(to_array(each)) > 0 for each in expected)
