"""Damaged files give our error or an image, within a short time."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from tests.images.corruption import corrupted_files, read_everything, sound_files

from safelight.errors import ImageError

SEED = 20240607
PER_FILE = 100
SECONDS = 3.0


@pytest.mark.timeout(120)
def test_damaged_files_give_an_image_or_our_error(make, format_name, capfd):
    rng = random.Random(f"{SEED}{format_name}")
    outcomes: Counter[str] = Counter()
    for number, data in enumerate(corrupted_files(sound_files(make, format_name), PER_FILE, rng)):
        began = time.perf_counter()
        outcomes[read_everything(data)] += 1
        assert time.perf_counter() - began < SECONDS, number
    assert sum(outcomes.values()) == PER_FILE
    assert len(outcomes) >= 3, outcomes
    assert ImageError.code not in outcomes  # each error has a message
    out, err = capfd.readouterr()
    assert out == ""
    # libtiff, within Pillow, prints its errors, and Pillow has no way to stop it
    assert all(line.startswith("tempfile.tif: ") for line in err.splitlines())


def test_every_prefix_of_a_file_gives_an_error_or_an_image(make, format_name):
    data = make.encode(make.image(9, 7), format_name)
    step = max(1, len(data) // 60)
    for length in range(0, len(data), step):
        read_everything(data[:length])
