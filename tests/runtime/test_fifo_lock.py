from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from safelight.runtime.fifo_lock import FifoLock, _Waiter


def wait_for_queue(lock: FifoLock, count: int) -> None:
    """Wait until so many threads are in the lock's queue."""
    deadline = time.monotonic() + 10
    while len(lock._queue) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_mutual_exclusion() -> None:
    lock, inside = FifoLock(), []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with lock:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()

    threads = [start(work) for _ in range(6)]
    for thread in threads:
        thread.join(20)
    assert len(most) == 300
    assert max(most) == 1


def test_it_is_acquired_in_the_order_of_the_requests() -> None:
    lock, order = FifoLock(), []

    def work(number: int) -> None:
        with lock:
            order.append(number)

    threads = []
    with lock:
        for number in range(8):
            threads.append(start(lambda number=number: work(number)))
            wait_for_queue(lock, number + 1)
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_a_thread_that_lends_it_comes_after_all_waiting_threads() -> None:
    lock, order = FifoLock(), []

    def work() -> None:
        with lock:
            order.append("waited")

    with lock:
        threads = [start(work) for _ in range(3)]
        wait_for_queue(lock, 3)
        with lock.released():
            pass
        order.append("lent")
    for thread in threads:
        thread.join(10)
    assert order == ["waited", "waited", "waited", "lent"]


def test_it_is_reacquired_after_an_error_of_the_thread_that_borrowed_it() -> None:
    lock = FifoLock()

    def fail() -> None:
        assert lock.acquire(blocking=False)
        lock.release()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), lock, lock.released():
        fail()
    assert lock.acquire(blocking=False)  # the outer block has released it, once
    with pytest.raises(RuntimeError, match="not held"):
        lock.release() or lock.release()


def test_non_blocking_acquire() -> None:
    lock = FifoLock()
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)
    lock.release()
    assert lock.acquire(blocking=False)


CTRL_C = """
import signal, threading, time
from safelight.runtime.fifo_lock import FifoLock

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in processes in the background
for _ in range(20):
    lock = FifoLock()
    release, held = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            while not lock._queue:
                time.sleep(0.0001)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        lock.acquire()
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("it was not interrupted")
    release.set()
    thread.join(10)
    assert lock.acquire(blocking=False)  # it was not handed to the thread that left
print("done")
"""


def test_ctrl_c_removes_a_thread_from_the_queue() -> None:
    """At any moment after it has queued. In a process of its own: a signal may come later than expected."""
    ended = subprocess.run(
        [sys.executable, "-c", CTRL_C], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def test_ctrl_c_during_the_handover_passes_it_on() -> None:
    lock = FifoLock()
    lock.acquire()
    gone = _Waiter()
    gone.handed_over = True
    lock._cancel_wait(gone)  # not in the queue any more: the lock was its own already
    assert lock.acquire(blocking=False)


def test_ctrl_c_before_it_has_queued_changes_nothing() -> None:
    lock = FifoLock()
    lock.acquire()
    lock._cancel_wait(_Waiter())
    assert not lock.acquire(blocking=False)
