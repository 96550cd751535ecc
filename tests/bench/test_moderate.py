from __future__ import annotations

import pytest

from safelight.bench.moderate import ModerationComparison, compare_moderation
from safelight.errors import InputError
from safelight.moderation import Moderator, Policy
from safelight.samples import sample_photographs


def test_the_ratio_is_the_median_over_rounds():
    comparison = ModerationComparison("peer", 5, [10.0, 30.0, 12.0], [5.0, 10.0, 12.0], "fast", 0.0, 0.0, 2)
    assert comparison.ratio == 2.0
    assert comparison.to_dict()["ratio"] == 2.0


def test_differences_are_computed_image_by_image(open_nsfw_exact):
    moderator = Moderator(open_nsfw_exact, Policy.load("lenient"))
    own = {path: moderator.judge(path).unsafe for path in sample_photographs()}
    off = compare_moderation(
        moderator, "off by a little", lambda path: own[path] + 0.25, sample_photographs(), rounds=1
    )
    assert off.largest_difference == pytest.approx(0.25)
    assert off.mean_difference == pytest.approx(0.25)
    assert off.pictures == 5


def test_an_empty_folder(open_nsfw_exact):
    moderator = Moderator(open_nsfw_exact, Policy.load("lenient"))
    with pytest.raises(InputError, match="no photographs"):
        compare_moderation(moderator, "x", lambda _: 0.0, [], rounds=1)
