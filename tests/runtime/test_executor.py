"""The executor: which calls are batched, which are not, and that none waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import example_count
from tests.runtime.components import component_of
from torch import Tensor, nn

from safelight.runtime.calls import Call
from safelight.runtime.component import Patch
from safelight.runtime.executor import BatchMember, DenoiserProxy, Executor
from safelight.runtime.fifo_lock import FifoLock

PATIENCE = 30
TURN_WAIT = "safelight.runtime.executor.TURN_WAIT"


class Doubler(nn.Module):
    """Returns twice each row plus its timestep; records the rows of each call and that calls never overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.inside = 0

    def forward(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor]:
        self.inside += 1
        assert self.inside == 1
        self.rows.append(len(sample))
        time.sleep(0)
        answer = (2 * sample + timestep.float().expand(len(sample))[:, None],)
        self.inside -= 1
        return answer


class CallSequence:
    """A thread's run: some calls, each of its own rows and width, with a pause before it."""

    def __init__(self, number: int, steps: Sequence[tuple[int, int, float]], fails_at: int | None) -> None:
        self.number, self.steps, self.fails_at = number, steps, fails_at
        self.right = 0
        self.error: Exception | None = None

    def run(self, lock: FifoLock, executor: Executor, net: nn.Module) -> None:
        try:
            with lock, BatchMember(executor) as member:
                proxy = DenoiserProxy(component_of(net), member.compute)
                for step, (rows, width, pause) in enumerate(self.steps):
                    with lock.released():
                        time.sleep(pause)
                    if step == self.fails_at:
                        raise ZeroDivisionError
                    sample = torch.full((rows, width), float(100 * self.number + step))
                    (answer,) = proxy(sample, torch.tensor(step))
                    assert torch.equal(answer, 2 * sample + step)
                    self.right += 1
        except ZeroDivisionError as error:
            self.error = error


RUNS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.integers(1, 2), st.integers(1, 2), st.sampled_from([0, 0, 0.001, 0.004])), max_size=6
        ),
        st.none() | st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


@given(RUNS, st.sampled_from([0.0, 0.002, 5.0]))
@settings(max_examples=example_count(40))
def test_threads_that_join_and_leave_get_their_own_results(
    plans: list[tuple[list[tuple[int, int, float]], int | None]], wait: float
) -> None:
    lock, net = FifoLock(), Doubler()
    executor = Executor(lock, wait)
    runs = [CallSequence(number, steps, fails_at) for number, (steps, fails_at) in enumerate(plans)]
    threads = [threading.Thread(target=run.run, args=(lock, executor, net), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    for run in runs:
        fails = run.fails_at is not None and run.fails_at < len(run.steps)
        assert run.right == (run.fails_at if fails else len(run.steps))
        assert (run.error is not None) == fails
    assert sum(net.rows) == sum(rows for run in runs for rows, _, _ in run.steps[: run.right])
    assert executor._member_count == 0
    assert executor._waiting == []
    assert lock.acquire(blocking=False)


class JoinedThreads:
    """Threads that all have joined before any of them makes its call, so that the outcome is certain."""

    def __init__(self, net: nn.Module, wait: float) -> None:
        self.net: Any = net
        self.lock = FifoLock()
        self.executor = Executor(self.lock, wait)
        self.results: dict[int, Any] = {}

    def run(self, calls: Sequence[tuple[Any, ...] | None], patches: Sequence[tuple[Patch, ...]] = ()) -> None:
        """One thread for each call; a thread with None joins, makes no call, and leaves after a while."""
        ready = threading.Barrier(len(calls))

        def work(number: int, arguments: tuple[Any, ...] | None) -> None:
            with self.lock:
                self.executor.join()
                with self.lock.released():
                    ready.wait(PATIENCE)
                try:
                    if arguments is not None:
                        own = patches[number] if patches else ()
                        call = Call(component_of(self.net), arguments, {}, own)
                        self.results[number] = self.executor.compute(call)
                    else:
                        with self.lock.released():
                            time.sleep(0.1)
                except Exception as error:  # noqa: BLE001  the test checks it
                    self.results[number] = error
                finally:
                    self.executor.leave()

        threads = [
            threading.Thread(target=work, args=(number, arguments), daemon=True)
            for number, arguments in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)


def make_row(value: float, width: int = 3) -> tuple[Tensor, Tensor]:
    return torch.full((1, width), float(value)), torch.tensor(0)


def test_all_joined_threads_are_one_call() -> None:
    joined = JoinedThreads(net := Doubler(), wait=PATIENCE)
    joined.run([make_row(1), make_row(2), make_row(3)])
    assert net.rows == [3]
    assert {number: float(answer[0].mean()) for number, (answer, _) in joined.results.items()} == {
        0: 2,
        1: 4,
        2: 6,
    }
    assert {batch_size for _, batch_size in joined.results.values()} == {3}


def test_incompatible_calls_are_computed_one_after_the_other() -> None:
    joined = JoinedThreads(net := Doubler(), wait=PATIENCE)
    joined.run([make_row(1), make_row(2, width=4), make_row(3), make_row(4, width=4)])
    assert net.rows == [2, 2]
    assert {answer[0].shape[1] for answer, _ in joined.results.values()} == {3, 4}


def test_a_thread_that_leaves_is_not_waited_for() -> None:
    joined = JoinedThreads(net := Doubler(), wait=PATIENCE)
    began = time.monotonic()
    joined.run([make_row(1), make_row(2), None])
    assert net.rows == [2]
    assert time.monotonic() - began < PATIENCE / 2


def test_a_slow_thread_is_waited_for_up_to_the_timeout() -> None:
    joined = JoinedThreads(net := Doubler(), wait=0.02)
    joined.run([make_row(1), make_row(2), None])
    assert sum(net.rows) == 2
    assert joined.executor._member_count == 0


def test_a_row_that_makes_a_common_call_fail_fails_alone() -> None:
    class Picky(Doubler):
        def forward(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor]:
            if (sample == 2).any():
                raise ValueError("broken")
            return super().forward(sample, timestep)

    joined = JoinedThreads(Picky(), wait=PATIENCE)
    joined.run([make_row(1), make_row(2), make_row(3)])
    assert str(joined.results[1]) == "broken"
    assert [float(joined.results[number][0][0].mean()) for number in (0, 2)] == [2, 6]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_too_large_for_the_memory_is_computed_row_by_row(error: RuntimeError) -> None:
    class Small(Doubler):
        def forward(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor]:
            if len(sample) > 1 or float(sample.mean()) == 3:
                raise error
            return super().forward(sample, timestep)

    joined = JoinedThreads(net := Small(), wait=PATIENCE)
    joined.run([make_row(1), make_row(2), make_row(3)])
    assert net.rows == [1, 1]
    assert [float(joined.results[number][0][0].mean()) for number in (0, 1)] == [2, 4]
    assert [joined.results[number][1] for number in (0, 1)] == [1, 1]
    assert joined.results[2] is error


def test_ctrl_c_in_one_thread_does_not_affect_the_calls_of_others() -> None:
    class Interrupted(Doubler):
        def forward(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor]:
            if not self.rows:
                self.rows.append(0)
                raise KeyboardInterrupt
            return super().forward(sample, timestep)

    lock, net = FifoLock(), Interrupted()
    executor = Executor(lock, 0.05)
    lock.acquire()
    executor.join()
    executor.join()
    answers: list[Any] = []

    def other() -> None:
        with lock:
            answers.append(executor.compute(Call(component_of(net), make_row(2), {})))

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    with lock.released():
        time.sleep(0.01)  # the other one waits now, or will
    with pytest.raises(KeyboardInterrupt):
        executor.compute(Call(component_of(net), make_row(1), {}))
    executor.leave()
    lock.release()
    thread.join(PATIENCE)
    assert float(answers[0][0][0].mean()) == 4


def test_a_thread_releases_its_lock_only_while_it_waits_for_others() -> None:
    released: list[str] = []
    lock, net = FifoLock(), Doubler()
    executor = Executor(lock, 0.01, lambda: released.append(threading.current_thread().name))
    with lock:
        executor.join()
        executor.compute(Call(component_of(net), make_row(1), {}))
        assert released == []
        executor.join()  # a thread that makes no call
        executor.compute(Call(component_of(net), make_row(1), {}))
    assert set(released) == {threading.current_thread().name}


def test_a_proxy_stands_for_the_network() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    proxy = DenoiserProxy(component_of(net), Call.compute)
    assert proxy.in_features == 3
    assert next(proxy.parameters()) is net.weight
    assert torch.equal(proxy(torch.ones(1, 3)), net(torch.ones(1, 3)))
    proxy.register_forward_hook(lambda *_: "hooked")
    assert proxy(torch.ones(1, 3)) == "hooked"
    assert isinstance(net(torch.ones(1, 3)), Tensor)
    with pytest.raises(AttributeError):
        _ = proxy.nonsense


@dataclass(frozen=True)
class Scaled:
    """A patch that scales a linear layer, and counts how often it is in effect."""

    factor: float
    log: list[str]

    @property
    def identity(self) -> str:
        return f"scaled by {self.factor}"

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        with torch.no_grad():
            before = network.weight.clone()
            network.weight.mul_(self.factor)
            self.log.append(f"on {self.factor}")
            try:
                yield
            finally:
                network.weight.copy_(before)
                self.log.append(f"off {self.factor}")


class Scale(nn.Module):
    """Multiplies its input by its weight; logs its calls."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=False)
        self.log = log

    def forward(self, sample: Tensor) -> tuple[Tensor]:
        self.log.append(f"computed {len(sample)}")
        return (sample * self.weight,)


def test_pictures_with_different_patches_share_no_call_and_each_gets_its_own() -> None:
    log: list[str] = []
    joined = JoinedThreads(Scale(log), wait=PATIENCE)
    double, triple = Scaled(2, log), Scaled(3, log)
    rows = [(torch.full((1, 1), float(number)),) for number in range(1, 6)]
    joined.run(rows, [(double,), (), (Scaled(2, log),), (triple, double), ()])
    found = {number: (float(answer[0]), together) for number, (answer, together) in joined.results.items()}
    assert found == {0: (2, 2), 1: (2, 2), 2: (6, 2), 3: (24, 1), 4: (5, 2)}
    assert sorted(log) == sorted(
        ["on 2", "computed 2", "off 2", "computed 2", "on 3", "on 2", "computed 1", "off 2", "off 3"]
    )
    history = " ".join(log)
    assert "on 2 computed 2 off 2" in history
    assert "on 3 on 2 computed 1 off 2 off 3" in history
    assert float(joined.net.weight) == 1


def test_a_patch_is_undone_where_the_network_fails() -> None:
    class Broken(Scale):
        def forward(self, sample: Tensor) -> tuple[Tensor]:
            raise ValueError("broken")

    log: list[str] = []
    net = Broken(log)
    proxy = DenoiserProxy(component_of(net), BatchMember().compute, (Scaled(2, log),))
    with pytest.raises(ValueError, match="broken"):
        proxy(torch.ones(1, 1))
    assert log == ["on 2", "off 2"]
    assert float(net.weight) == 1


class Turns:
    """Threads whose calls cannot be joined, in the order in which they began; notes whose call is computed."""

    def __init__(self, pictures: int, steps: int) -> None:
        self.lock, self.log = FifoLock(), list[int]()
        self.executor = Executor(self.lock, 0.0)
        self.pictures, self.steps = pictures, steps
        self.ending: set[int] = set()
        self.on_step: Callable[[int, int], None] = lambda _number, _step: None

    def run(self) -> list[int]:
        """The number of the picture of each call that was computed."""
        with self.lock:
            members = [
                BatchMember(self.executor, lambda number=number: number in self.ending)
                for number in range(self.pictures)
            ]
            for member in members:
                member._joined = True
                self.executor.join()
        workers = [
            threading.Thread(target=self._work, args=(number, members[number]), daemon=True)
            for number in reversed(range(self.pictures))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
        assert not any(worker.is_alive() for worker in workers)
        return self.log

    def _work(self, number: int, member: BatchMember) -> None:
        component = replace(component_of(Doubler()), joins=False)
        with self.lock, member:
            for step in range(self.steps):
                assert member.compute(Call(component, make_row(number), {}))
                self.log.append(number)
                with self.lock.released():
                    self.on_step(number, step)
                if number in self.ending:
                    return


def test_of_calls_that_cannot_be_joined_those_of_the_oldest_picture_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TURN_WAIT, PATIENCE)  # however busy the machine is
    assert Turns(3, 4).run() == [0] * 4 + [1] * 4 + [2] * 4


def test_other_pictures_compute_while_the_oldest_does_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TURN_WAIT, 0.001)
    turns, others_are_done = Turns(3, 2), threading.Event()

    def on_step(number: int, step: int) -> None:
        if (number, step) == (0, 0):
            assert others_are_done.wait(PATIENCE)
        elif (number, step) == (2, 1):
            others_are_done.set()

    turns.on_step = on_step
    log = turns.run()
    assert log[-1] == 0
    assert sorted(log) == [0, 0, 1, 1, 2, 2]


def test_a_picture_that_is_to_stop_does_not_wait_for_older_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TURN_WAIT, 0.001)
    turns, stopped = Turns(3, 50), threading.Event()

    def on_step(number: int, step: int) -> None:
        if (number, step) == (0, 1):
            turns.ending.add(2)
        if number == 2:
            stopped.set()
        if (number, step) == (0, 10):
            assert stopped.wait(PATIENCE)

    turns.on_step = on_step
    log = turns.run()
    assert log.count(2) == 1
    assert log.index(2) < 50
