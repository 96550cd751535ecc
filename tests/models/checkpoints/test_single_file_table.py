"""diffusers' table of classes that it loads from single files, against what Safelight opens."""

from __future__ import annotations

from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from safelight.models.checkpoints.layouts import NETWORKS

NOT_OPENED = {
    "AnimateDiff's motion modules, which turn pictures into video": (
        "MotionAdapter",
        "SparseControlNetModel",
    ),
    "generates video": (
        "AutoencoderKLLTX2Audio",
        "AutoencoderKLLTX2Video",
        "AutoencoderKLLTXVideo",
        "AutoencoderKLWan",
        "ChronoEditTransformer3DModel",
        "HunyuanVideoTransformer3DModel",
        "LTX2VideoTransformer3DModel",
        "LTXVideoTransformer3DModel",
        "MiniMaxH3Transformer3DModel",
        "MochiTransformer3DModel",
        "MotifVideoTransformer3DModel",
        "SkyReelsV2Transformer3DModel",
        "WanAnimate2Transformer3DModel",
        "WanAnimateTransformer3DModel",
        "WanTransformer3DModel",
        "WanVACETransformer3DModel",
    ),
    "generates video, but for one pipeline, which is no family of Safelight's": ("CosmosTransformer3DModel",),
    "Stable Cascade is two checkpoints in a row, and no family of Safelight's": ("StableCascadeUNet",),
    "diffusers has modular pipelines only for Flux.3, which Safelight does not use": (
        "Flux3Transformer2DModel",
    ),
}
"""Classes of the table that are not opened, by the reason."""


def test_every_class_of_diffusers_table_is_opened_or_has_a_reason() -> None:
    opened = {layout.class_name for layout in NETWORKS.values()}
    reasons = {name: reason for reason, names in NOT_OPENED.items() for name in names}
    assert not opened & reasons.keys()
    table = set(SINGLE_FILE_LOADABLE_CLASSES)
    assert table - opened - reasons.keys() == set()
    assert reasons.keys() - table == set()
