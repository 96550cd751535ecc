from __future__ import annotations

import os
import threading
import time

from safelight.waking import Waker


def test_a_wait_ends_after_its_timeout() -> None:
    waker = Waker()
    began = time.monotonic()
    assert not waker.wait(0.05)
    assert time.monotonic() - began >= 0.05
    waker.close()


def test_a_waiting_thread_is_woken() -> None:
    waker = Waker()
    waiting = threading.Thread(target=waker.wait)
    waiting.start()
    waker.wake()
    waiting.join(10)
    assert not waiting.is_alive()
    waker.close()


def test_a_wake_up_without_a_waiter_ends_only_the_next_wait() -> None:
    waker = Waker()
    for _ in range(100_000):  # more than the buffer holds
        waker.wake()
    began = time.monotonic()
    waker.wait(60)
    assert time.monotonic() - began < 30
    assert not waker.wait(0.0)
    waker.wake()
    waker.wait(60)
    assert time.monotonic() - began < 30
    waker.close()
    waker.wake()  # too late, and no error


def test_a_readable_file_descriptor_ends_the_wait() -> None:
    waker = Waker()
    reading, writing = os.pipe()
    waker.watch(reading)
    assert list(waker.wait(0.0)) == []
    os.write(writing, b"x")
    assert list(waker.wait(60)) == [reading]
    waker.forget(reading)
    waker.forget(reading)
    assert list(waker.wait(0.0)) == []
    waker.close()
    os.close(reading)
    os.close(writing)
