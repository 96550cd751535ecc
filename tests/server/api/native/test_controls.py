from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient
from tests.tiny import controls

from safelight.jobs.queue_service import QueueService
from safelight.models.controls.kinds import KINDS


def test_networks_are_listed_with_what_they_are_for(
    client: TestClient, service: QueueService, tiny: Callable[[str], Path]
) -> None:
    folder = service.settings.home / "controlnet"
    controls.controlnet(tiny("sd1"), folder / "tiny_canny")
    controls.union(tiny("sdxl"), folder / "tiny_union")
    rows = {row["name"]: row for row in client.get("/v1/controls").json()["controls"]}
    assert list(rows) == ["tiny_canny", "tiny_union", "starter-canny"]
    assert (rows["tiny_canny"]["kinds"], rows["tiny_canny"]["several"]) == (["canny"], False)
    union = rows["tiny_union"]
    assert (union["family"], union["family_title"], union["several"]) == ("sdxl", "Stable Diffusion XL", True)
    assert {"canny", "depth", "pose"} <= set(union["kinds"])
    packaged = rows["starter-canny"]
    assert (packaged["family"], packaged["family_title"]) == ("sd1", "Safelight's starter")
    assert (packaged["checkpoint"], union["checkpoint"]) == ("starter", None)


def test_kinds_have_their_preprocessors_and_the_families_that_need_no_network(standing: TestClient) -> None:
    kinds = {row["name"]: row for row in standing.get("/v1/controls").json()["kinds"]}
    assert list(kinds) == list(KINDS)
    assert kinds["line_art"]["preprocessors"] == ["line_art"]
    assert "grey" in kinds["recolor"]["preprocessors"]
    assert {"sd1", "sdxl"} <= set(kinds["reference"]["families"])
    assert "flux" not in kinds["reference"]["families"]
    assert not any(row["families"] for name, row in kinds.items() if name != "reference")
