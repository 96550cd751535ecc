from __future__ import annotations

import numpy as np

from safelight.moderation.classifiers.probe_images import probe_images


def test_the_same_two_dozen_images_on_every_run():
    first, again = probe_images(), probe_images()
    assert len(first) == 23
    for one, other in zip(first, again, strict=True):
        assert one.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_their_scores_spread_so_that_errors_can_show(open_nsfw_exact):
    squares = np.stack([open_nsfw_exact.prepare(picture) for picture in probe_images()])
    scores = np.array([p.scores["nsfw"] for p in open_nsfw_exact.predict(squares)])
    log_odds = np.log(scores / (1 - scores))
    assert log_odds.std() > 1
    assert scores.max() > 0.1
