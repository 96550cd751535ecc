from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import sys, threading
import numpy as np
import psutil
if sys.argv[1] == "given back":
    from safelight.server.core.allocator import configure_malloc
    assert configure_malloc()

def work():
    for size in (24, 16, 8, 4, 2):
        blocks = [np.ones(size * 2**20 // 8) for _ in range(64 // size)]
        kept.append(blocks[-1][:1].tolist())

kept = []
before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(round((psutil.Process().memory_info().rss - before) / 1e6))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_memory_of_decoded_images_is_returned_to_the_system() -> None:
    def left(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert left("given back") < 10
