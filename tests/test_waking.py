from __future__ import annotations

import os
import threading
import time

from safelight.waking import Waker


def test_a_wait_ends_after_its_time() -> None:
    waker = Waker()
    began = time.monotonic()
    assert not waker.wait(0.05)
    assert time.monotonic() - began >= 0.05
    waker.close()


def test_a_thread_that_waits_is_woken() -> None:
    waker = Waker()
    waiting = threading.Thread(target=waker.wait)
    waiting.start()
    waker.wake()
    waiting.join(10)
    assert not waiting.is_alive()
    waker.close()


def test_a_wake_up_while_nobody_waits_ends_the_next_wait_and_no_other() -> None:
    waker = Waker()
    for _ in range(100_000):  # more than there is room for
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


def test_what_can_be_read_ends_it() -> None:
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
