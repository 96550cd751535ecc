from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from safelight.errors import ImageError, InputError, JobTooLargeError
from safelight.generation.request import GenerationRequest, RequestPart
from safelight.images.types import DecodeLimits
from safelight.jobs.cost import NETWORK_COST, JobSize, check_size
from safelight.jobs.payloads import PreprocessRequest, ScanRequest, UpscaleRequest
from safelight.jobs.task import TASKS


def image_file(width: int, height: int, kind: str = "PNG", frames: int = 1) -> bytes:
    out = io.BytesIO()
    first, *others = [Image.new("RGB", (width, height), (number, 0, 0)) for number in range(frames)]
    first.save(out, kind, **({"save_all": True, "append_images": others} if others else {}))
    return out.getvalue()


def estimate_size(request: RequestPart, limits: DecodeLimits) -> JobSize:
    (task,) = (task for task in TASKS.values() if task.request is type(request))
    size: JobSize = task.size(request, limits)
    return size


def cost(request: RequestPart) -> float:
    return estimate_size(request, DecodeLimits()).cost


def generation_cost(**fields: Any) -> float:
    return cost(GenerationRequest.parse(**{"prompt": "x", "width": 256, "height": 256, "steps": 10} | fields))


def test_a_unit_is_a_megapixel_through_one_step() -> None:
    assert generation_cost(width=1000, height=1000, steps=1) == pytest.approx(1.0)
    assert generation_cost(width=1000, height=500, steps=30, count=4) == pytest.approx(60.0)


def test_a_second_pass_costs_by_its_size_its_steps_and_its_strength() -> None:
    once = generation_cost()
    assert generation_cost(hires={"scale": 2.0, "strength": 0.5}) == pytest.approx(once + 4 * 0.5 * once)
    assert generation_cost(hires={"scale": 2.0, "strength": 0.5, "steps": 40}) == pytest.approx(
        once + 4 * 2 * once
    )
    assert generation_cost(hires={"scale": 2.0, "strength": 0.5, "all_steps": True}) == pytest.approx(
        5 * once
    )


def test_an_initial_picture_costs_by_its_own_size() -> None:
    large = {"init_image": image_file(2000, 1500), "width": None, "height": None}
    assert generation_cost(**large) == pytest.approx(3.0 * 10 * 0.75)
    assert generation_cost(**large, strength=0.1) == pytest.approx(3.0)
    assert generation_cost(**large, strength=0) == pytest.approx(
        3.0
    )  # refused later; nothing is generated in no step
    assert generation_cost(**large | {"width": 256, "height": 256}) == pytest.approx(0.75 * generation_cost())
    assert generation_cost(**large, outpaint={"left": 2000}) == pytest.approx(60.0)
    assert generation_cost(**large, mask=image_file(2000, 1500)) == pytest.approx(30.0)
    assert generation_cost(
        **large, mask=image_file(2000, 1500), inpaint={"only_masked": True}
    ) == pytest.approx(2.62144)


def test_references_cost_as_much_as_pixels_that_are_drawn_at_most_a_megapixel_each() -> None:
    plain = generation_cost(width=512, height=512, steps=10)
    small, large = ({"image": image_file(side, side)} for side in (512, 2000))
    seen = generation_cost(width=512, height=512, steps=10, references=[small])
    assert seen == pytest.approx(2 * plain)
    assert generation_cost(width=512, height=512, steps=10, references=[large, small]) < 7 * plain
    with pytest.raises(ImageError):
        generation_cost(references=[{"image": b"no picture"}])


def test_upscaling_costs_by_the_size_of_its_result() -> None:
    def enlarging(side: int, by: float, upscaler: str) -> float:
        return cost(UpscaleRequest(image=image_file(side, side), by=by, upscaler=upscaler))

    assert enlarging(500, 2, "a-network") == pytest.approx(NETWORK_COST)
    assert enlarging(500, 8, "a-network") == pytest.approx(16 * NETWORK_COST)
    assert enlarging(1000, 2, "a-network") == pytest.approx(4 * NETWORK_COST)
    assert 0 < enlarging(1000, 8, "lanczos") < enlarging(1000, 8, "a-network")


def test_preprocessing_costs_by_its_resolution_and_needs_known_parameters() -> None:
    picture = image_file(1000, 500)
    whole = estimate_size(PreprocessRequest(image=picture, preprocessor="canny"), DecodeLimits())
    assert (whole.pictures, whole.pixels) == (1, 500_000)
    small = PreprocessRequest(image=picture, preprocessor="canny", resolution=250)
    assert cost(small) == pytest.approx(whole.cost / 4)
    network = PreprocessRequest(image=picture, preprocessor="depth", resolution=250)
    assert cost(network) == pytest.approx(NETWORK_COST * 0.125)
    for fields in ({"preprocessor": "canyn"}, {"preprocessor": "canny", "parameters": {"blob": "x"}}):
        with pytest.raises(InputError):
            cost(PreprocessRequest(image=picture, **fields))


def test_a_scan_costs_by_its_pictures_and_their_pixels() -> None:
    def scan(*images: bytes) -> float:
        return cost(ScanRequest(images=images))

    small, large = image_file(10, 10), image_file(4000, 3000)
    assert scan(large) == pytest.approx(0.01 + 0.06)
    assert scan(*[small] * 50) == pytest.approx(50 * scan(small))
    assert scan(b"no picture") == pytest.approx(0.01)
    assert scan(image_file(10, 10, "GIF", frames=5)) == pytest.approx(5 * scan(small))
    assert scan(image_file(10, 10, "GIF", frames=50)) == pytest.approx(16 * scan(small))  # at most 16 frames


def test_an_unreadable_initial_picture_is_an_error() -> None:
    for request in (
        UpscaleRequest(image=b"no picture"),
        GenerationRequest.parse(prompt="x", init_image=b"no picture"),
    ):
        with pytest.raises(ImageError):
            estimate_size(request, DecodeLimits())


def test_too_large_a_job_is_refused_with_the_limit() -> None:
    job = estimate_size(
        GenerationRequest.parse(prompt="x", width=1000, height=1000, steps=10, count=10), DecodeLimits()
    )
    check_size(job, 100.0)
    with pytest.raises(JobTooLargeError, match="100 megapixels times steps; 99 are allowed") as refused:
        check_size(job, 99.0)
    assert "9 pictures are allowed" in refused.value.hint
    with pytest.raises(JobTooLargeError) as refused:
        check_size(JobSize(1, 10, 500.0), 99.0)
    assert "max_job_work" in refused.value.hint
