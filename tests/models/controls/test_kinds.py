from __future__ import annotations

from typing import get_args

import pytest

from safelight.models.controls.kinds import KINDS, ControlKind, kinds_in, parse_kind


def test_every_kind_has_names() -> None:
    assert set(KINDS) == set(get_args(ControlKind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("control_v11p_sd15_canny", "canny"),
        ("control_v11p_sd15_openpose", "pose"),
        ("control_v11f1p_sd15_depth_fp16", "depth"),
        ("control_v11p_sd15s2_lineart_anime", "line_art"),
        ("control_v11e_sd15_ip2p", "instruct"),
        ("control_v11f1e_sd15_tile", "tile"),
        ("control_v11p_sd15_mlsd", "straight_lines"),
        ("control_v11p_sd15_seg", "segmentation"),
        ("control_v11p_sd15_softedge", "soft_edge"),
        ("t2iadapter_color_sd14v1", "color_grid"),
        ("noobaiXLControlnet_epsNormal", "normal"),
        ("diffusers_xl_canny_full", "canny"),
        ("MistoLine_rank256", "line_art"),
    ],
)
def test_a_file_says_by_its_name_what_it_is_for(name: str, kind: str) -> None:
    assert kinds_in(name)[0] == kind


@pytest.mark.parametrize("name", ["flux-union-pro", "diffusion_pytorch_model", "xinsir-promax", "cannyon"])
def test_names_without_a_kind(name: str) -> None:
    assert kinds_in(name) == ()


@pytest.mark.parametrize(
    ("word", "kind"),
    [("OpenPose", "pose"), ("NormalMap", "normal"), ("SoftEdge", "soft_edge"), ("MLSD", "straight_lines"),
     ("Canny", "canny"), ("lineart", "line_art"), ("line_art", "line_art"),
     ("Line Art", "line_art"), ("InstructP2P", "instruct"),
     ("gray", "grey"), ("low_quality", "low_quality"), ("ip2p", "instruct"), ("qr_code", "qr_code")],
)  # fmt: skip
def test_a_kind_is_known_by_other_programs_words(word: str, kind: str) -> None:
    assert parse_kind(word) == kind


def test_another_word_stays() -> None:
    assert parse_kind("Nope") == "Nope"
    assert all(parse_kind(kind) == kind for kind in KINDS)
