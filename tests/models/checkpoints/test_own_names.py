from __future__ import annotations

import pytest
from diffusers import UNet2DConditionModel
from scripts import render_own_names
from tests.models.inventory.test_file_kinds import empty
from tests.tiny.original_layout import convert_unet

from safelight.models.checkpoints.layouts.own_names import own_modules


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")
def test_the_table_follows_from_the_layouts() -> None:
    assert render_own_names.TARGET.read_text(encoding="utf-8") == render_own_names.render(), (
        "run scripts/render_own_names.py"
    )


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_unets_of_real_sizes(name: str) -> None:
    tensors = empty(UNet2DConditionModel, name)
    modules = [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]
    found = own_modules(name, modules)
    renamed = convert_unet(dict(tensors), layers=2)
    library = {id(tensor): key for key, tensor in tensors.items()}
    attending = 0 if name == "sdxl" else 1  # the first block on the way up with attention
    for own, tensor in renamed.items():
        if own.endswith(".weight"):
            module = own.removesuffix(".weight")
            if module.endswith(".1.conv") and int(module.split(".")[1]) // 3 >= attending:
                module = module.replace(
                    ".1.conv", ".2.conv"
                )  # after an attention, which the renaming leaves out
            assert found[module].modules == (library[id(tensor)].removesuffix(".weight"),)
