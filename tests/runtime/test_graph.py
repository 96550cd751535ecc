from __future__ import annotations

import hashlib

from safelight.runtime.graph import OnnxGraph


def test_the_digest_is_the_models() -> None:
    graph = OnnxGraph(b"abc", 4, 4, ("probabilities",))
    assert graph.digest == hashlib.sha256(b"abc").hexdigest()
    assert graph.digest.startswith("ba7816bf")


def test_different_networks_have_different_digests(graph: OnnxGraph, other_graph: OnnxGraph) -> None:
    assert graph.digest != other_graph.digest
