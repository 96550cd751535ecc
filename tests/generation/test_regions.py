from __future__ import annotations

import json
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, to_array
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import FieldMissingError, PromptUnsupportedError, RequestError
from safelight.generation.canvas.init_image import InitImage, make_init_image
from safelight.generation.infotext import infotext_from_record, parse_infotext
from safelight.generation.record import pixels_digest
from safelight.generation.regions import RegionMasks, shares, spread
from safelight.generation.request import GenerationRequest
from safelight.models.families import FAMILIES

REGIONS = [{"prompt": "a {blue|blue} dog", "mask": MASK, "weight": 0.5}]


def test_shares_are_normalised_where_they_overlap() -> None:
    masks = [np.float32([[1, 1, 0, 0.5]]), np.float32([[0, 1, 0, 0.25]])]
    found = shares(masks, [1.0, 1.0])
    assert np.allclose(found[0], [[1, 0.5, 0, 0.5]])
    assert np.allclose(found[1], [[0, 0.5, 0, 0.25]])
    assert np.allclose(shares(masks[:1], [0.25])[0], [[0.25, 0.25, 0, 0.125]])


def test_a_mask_is_spread_as_latents_lie() -> None:
    mask = np.random.default_rng(0).random((64, 96)).astype(np.float32)
    cells = torch.from_numpy(mask.reshape(8, 8, 12, 8).mean((1, 3)))
    spatial, video = torch.zeros(2, 4, 8, 12), torch.zeros(2, 4, 1, 8, 12)
    assert torch.allclose(spread(mask, spatial, FAMILIES["sd1"])[0, 0], cells, atol=1e-6)
    assert torch.allclose(spread(mask, video, FAMILIES["z-image"])[0, 0, 0], cells, atol=1e-6)
    last = spread(mask, torch.zeros(1, 1, 8, 12, 4), FAMILIES["kandinsky5"])
    assert torch.allclose(last[0, 0, :, :, 0], cells, atol=1e-6)
    packed = diffusers.FluxPipeline._pack_latents(cells.repeat(1, 3, 1, 1), 1, 3, 8, 12)
    found = spread(mask, torch.zeros(1, 30, 12), FAMILIES["flux"])
    assert torch.allclose(found[0, :24, 0], packed.reshape(24, 3, 4)[:, 0].mean(1), atol=1e-6)
    assert not found[0, 24:].any()  # tokens of other pictures


def test_masks_are_fitted_to_the_pass_and_cut_as_its_picture() -> None:
    masks = RegionMasks([MASK])
    assert masks.at((128, 32), InitImage())[0].shape == (32, 128)
    hole = Image.new("L", (SIDE, SIDE))
    hole.paste(255, (32, 16, 48, 32))
    request = GenerationRequest(
        prompt="", init_image=INIT_IMAGE, mask=hole, inpaint={"only_masked": True, "padding": 0, "blur": 0}
    )
    start = make_init_image(request, INIT_IMAGE, hole, 0, (SIDE, SIDE), 8)
    assert masks.at((SIDE, SIDE), start)[0].min() > 0.99  # the part lies in the white half


def test_regions_are_recorded_reproduced_and_in_the_infotext(draw: GenerateImages) -> None:
    drawn = draw(regions=REGIONS, negative_prompt="green")[0]
    (region,) = drawn.record.regions
    assert (region.prompt, region.expanded_prompt) == ("a {blue|blue} dog", "a blue dog")
    digest = pixels_digest(np.asarray(MASK.convert("RGB")))
    assert (region.mask, region.weight) == (digest, 0.5)
    again = drawn.record.to_request(control={digest: MASK.convert("RGB")})
    assert np.array_equal(
        to_array(drawn), to_array(*draw(**{name: getattr(again, name) for name in again.model_fields_set}))
    )
    parameters = parse_infotext(infotext_from_record(drawn.record)).parameters
    assert json.loads(parameters["Region 0"]) == {"prompt": "a blue dog", "weight": 0.5}
    assert "regions" not in draw()[0].record.to_dict()


@pytest.mark.parametrize(
    ("region", "error", "field"),
    [
        ({"prompt": "a"}, FieldMissingError, "regions.0.mask"),
        ({"mask": MASK}, FieldMissingError, "regions.0.prompt"),
        ({"prompt": "a", "mask": MASK, "weight": 0}, RequestError, "regions.0.weight"),
        ({"prompt": "a AND b", "mask": MASK}, PromptUnsupportedError, "regions.0.prompt"),
        ({"prompt": "a <lora:x>", "mask": MASK}, PromptUnsupportedError, "regions.0.prompt"),
    ],
)
def test_invalid_regions_are_refused(region: dict[str, Any], error: type[Exception], field: str) -> None:
    with pytest.raises(error) as caught:
        GenerationRequest.parse(prompt="x", regions=[region])
    assert getattr(caught.value, "field", None) == field


def test_unsupported_parts_of_a_region_may_be_left_out(draw: GenerateImages) -> None:
    region = {"prompt": "a AND b", "mask": MASK}
    record = draw(regions=[region], ignore_unsupported=True)[0].record
    assert (record.regions[0].expanded_prompt, record.left_out) == ("a, b", ("AND",))


def test_a_method_without_regions_is_noted(draw: GenerateImages) -> None:
    notes = draw(region_method="attention")[0].record.notes
    assert "Without regions, region_method has no effect." in notes
