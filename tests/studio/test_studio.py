from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studio.conftest import ANYTHING, DOUBT, NOTHING
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import (
    BlockedError,
    CheckpointMissingError,
    FileMissingError,
    ImageError,
    MaskError,
    MemoryBudgetError,
    RequestError,
    RunStoppedError,
    UpscalerUnknownError,
)
from safelight.generation.comparison import within_tolerance
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.request import GenerationRequest
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Decision
from safelight.moderation.verdict import Verdict
from safelight.settings import Settings
from safelight.studio import Picture, Studio

SMALL: dict[str, Any] = {"steps": 2, "seed": 7, "width": 64, "height": 64}


def same(first: Picture, second: Picture) -> bool:
    return np.array_equal(np.asarray(first.image), np.asarray(second.image))


def test_a_prompt_with_fields_and_a_request_give_the_same(drawing_studio: Studio) -> None:
    (first,) = drawing_studio.generate("a red cat", **SMALL)
    (second,) = drawing_studio.generate(GenerationRequest.parse(prompt="a red cat", **SMALL))
    assert same(first, second)
    assert first.record == second.record
    assert (first.seed, first.verdict.decision, first.stopped_at) == (7, Decision.ALLOW, None)
    with pytest.raises(RequestError, match="not both"):
        drawing_studio.generate(GenerationRequest.parse(prompt=""), seed=1)
    with pytest.raises(RequestError):
        drawing_studio.generate("a red cat", nonsense=1)


def test_an_edit_accepts_every_kind_of_source(drawing_studio: Studio, tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "init.png")
    MASK.save(tmp_path / "mask.png")
    data = (tmp_path / "init.png").read_bytes()
    sources = [tmp_path / "init.png", str(tmp_path / "init.png"), data, INIT_IMAGE, np.asarray(INIT_IMAGE)]
    results = [drawing_studio.edit(each, "a cat", steps=2, seed=7)[0] for each in sources]
    results += drawing_studio.edit(io.BytesIO(data), "a cat", steps=2, seed=7)
    assert all(same(each, results[0]) for each in results)
    assert {each.record.init_image for each in results} == {results[0].record.init_image}
    with (tmp_path / "mask.png").open("rb") as mask:
        (inpainted,) = drawing_studio.edit(INIT_IMAGE, "a cat", steps=2, seed=7, mask=mask)
    assert inpainted.record.mask is not None
    assert same(inpainted, drawing_studio.edit(INIT_IMAGE, "a cat", steps=2, seed=7, mask=MASK)[0])


def test_a_blocked_image_has_no_pixels(drawing_studio: Studio, tmp_path: Path) -> None:
    (picture,) = drawing_studio.generate("a red cat", policy=NOTHING, **SMALL)
    assert picture.image is None
    assert picture.record.verdict is not None
    assert picture.record.verdict.decision == "block"
    assert "policy nothing blocks the picture with seed 7: unsafe 0." in picture.block_reason
    for act in (picture.encode, lambda: picture.save(tmp_path / "a.png")):
        with pytest.raises(BlockedError, match="policy nothing"):
            act()
    assert list(tmp_path.iterdir()) == []
    assert picture.to_dict()["path"] is None
    assert picture.to_dict()["verdict"]["decision"] == "block"


def test_an_image_for_review_is_returned(drawing_studio: Studio, tmp_path: Path) -> None:
    (picture,) = drawing_studio.generate("a red cat", policy=DOUBT, **SMALL)
    assert picture.verdict.flagged
    assert picture.save(tmp_path / "a.png").exists()


def test_every_image_of_a_batch_is_judged(drawing_studio: Studio) -> None:
    drawn = drawing_studio.generate("a red cat", policy=NOTHING, count=3, **SMALL)
    assert [each.image for each in drawn] == [None] * 3


def test_a_blocked_initial_image_is_not_used(drawing_studio: Studio) -> None:
    told: list[RunProgress] = []
    for more in ({}, {"mask": MASK}, {"outpaint": {"left": 8}}):
        with pytest.raises(BlockedError, match="policy nothing blocks the initial picture") as caught:
            drawing_studio.edit(INIT_IMAGE, "a cat", policy=NOTHING, watcher=Watcher(told.append), **more)
        assert caught.value.exit_code == 1
    assert told == []


def test_every_image_within_a_request_is_judged_except_masks(
    drawing_studio: Studio, drawing_control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[object] = []
    whole = Moderator.judge

    def judge(moderator: Moderator, source: Any) -> Verdict:
        judged.append(source)
        return whole(moderator, source)

    monkeypatch.setattr(Moderator, "judge", judge)
    data = io.BytesIO()
    INIT_IMAGE.save(data, "PNG")
    control = {"model": drawing_control, "image": data.getvalue(), "mask": MASK}
    fields: dict[str, Any] = {"prompt": "a cat", **SMALL}
    request = GenerationRequest.parse(init_image=INIT_IMAGE, control=(control, control), **fields)
    assert len(list(drawing_studio.iter_generate(request))) == 1
    assert len(judged) == 4, "the initial picture, two within, and the result"
    request = GenerationRequest.parse(control=(control,), **fields)
    with pytest.raises(BlockedError, match=r"policy nothing blocks the picture control\[0\].image"):
        next(drawing_studio.iter_generate(request, policy=NOTHING))


def test_the_picture_of_an_ip_adapter_is_judged(drawing_studio: Studio, drawing_ip_adapter: str) -> None:
    control = {"model": drawing_ip_adapter, "image": INIT_IMAGE}
    request = GenerationRequest.parse(prompt="a cat", control=(control,), **SMALL)
    assert len(list(drawing_studio.iter_generate(request))) == 1
    with pytest.raises(BlockedError, match=r"policy nothing blocks the picture control\[0\].image"):
        next(drawing_studio.iter_generate(request, policy=NOTHING))


def test_references_are_judged(drawing_studio: Studio, tiny: Callable[[str], Path]) -> None:
    told: list[RunProgress] = []
    fields = {"prompt": "a cat", **SMALL, "checkpoint": str(tiny("sd1-instruct-pix2pix"))}
    request = GenerationRequest.parse(references=[{"image": INIT_IMAGE}], **fields)
    with pytest.raises(BlockedError, match=r"policy nothing blocks the picture references\[0\].image"):
        next(drawing_studio.iter_generate(request, policy=NOTHING, watcher=Watcher(told.append)))
    assert told == []
    assert len(list(drawing_studio.iter_generate(request))) == 1


def test_images_can_be_skipped(drawing_studio: Studio) -> None:
    request = GenerationRequest.parse(prompt="a __colours__ cat", count=4, **SMALL)
    whole = list(drawing_studio.iter_generate(request))
    some = list(drawing_studio.iter_generate(request, skip={0, 2}))
    assert [each.record for each in some] == [whole[1].record, whole[3].record]
    assert all(same(*pair) for pair in zip(some, (whole[1], whole[3]), strict=True))


def test_a_run_generates_its_images_in_any_order_and_continues_after_a_stop(
    drawing_studio: Studio,
) -> None:
    stop: list[bool] = []
    request = GenerationRequest.parse(prompt="a red cat", count=2, **SMALL)
    run = drawing_studio.start(request, watcher=Watcher(should_stop=lambda: bool(stop)))
    second = run.generate(1)
    stop.append(True)
    with pytest.raises(RunStoppedError):
        run.generate(0)
    stop.clear()
    pictures = [run.generate(0), second]
    assert all(same(*pair) for pair in zip(pictures, drawing_studio.generate(request), strict=True))


def test_the_policys_file_is_read_before_anything_is_generated(drawing_studio: Studio) -> None:
    told: list[RunProgress] = []
    with pytest.raises(FileMissingError):
        drawing_studio.generate("a cat", policy="nowhere.toml", watcher=Watcher(told.append), **SMALL)
    assert told == []


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"init_image": b"GIF89a"}, ImageError),
        ({"init_image": "nowhere.png"}, FileMissingError),
        ({"init_image": INIT_IMAGE, "mask": "nowhere.png"}, FileMissingError),
        ({"init_image": INIT_IMAGE, "mask": MASK.resize((8, 8))}, MaskError),
    ],
)
def test_invalid_images(more: dict[str, Any], error: type[Exception], drawing_studio: Studio) -> None:
    with pytest.raises(error):
        drawing_studio.generate("a cat", steps=2, **more)


def test_images_come_one_by_one_and_others_may_generate_between_them(drawing_studio: Studio) -> None:
    request = GenerationRequest.parse(prompt="a __colours__ cat", count=2, **SMALL)
    pictures = drawing_studio.iter_generate(request)
    first = next(pictures)
    between = drawing_studio.generate("a red cat", **SMALL)
    second = next(pictures)
    alone = drawing_studio.generate("a __colours__ cat", **(SMALL | {"seed": 8}))
    assert same(second, alone[0])
    assert second.record == alone[0].record
    assert (first.seed, second.seed, len(between)) == (7, 8, 1)


def test_threads_that_share_a_studio_get_the_images_of_one(drawing_settings: Settings) -> None:
    studio = Studio(drawing_settings)
    jobs = [{"seed": seed, "sampler": "Euler a"} for seed in (1, 2, 3, 4)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda job: studio.generate("a cat", **(SMALL | job))[0], jobs))
    for job, picture in zip(jobs, threaded, strict=True):
        (alone,) = studio.generate("a cat", **(SMALL | job))
        assert within_tolerance(np.asarray(picture.image), np.asarray(alone.image))  # they were batched
        assert not alone.record.batched
        unbatched = picture.record.model_copy(update={"batched": False, "notes": alone.record.notes})
        assert unbatched == alone.record
        assert picture.verdict.decision == alone.verdict.decision


def test_a_studio_creates_its_engine_once(drawing_settings: Settings) -> None:
    studio = Studio(drawing_settings)
    with ThreadPoolExecutor(4) as pool:
        assert len({id(engine) for engine in pool.map(lambda _: studio.engine, range(8))}) == 1


def test_checkpoints_are_loaded_and_unloaded(drawing_settings: Settings, tiny: Callable[[str], Path]) -> None:
    studio = Studio(drawing_settings)
    studio.unload()
    other = str(tiny("sd2"))
    assert not studio.is_loaded(other)
    studio.preload()
    studio.preload(other)
    assert studio.loaded_checkpoints == {drawing_settings.checkpoint, other}
    assert studio.is_loaded(other)
    studio.unload(other)
    assert studio.loaded_checkpoints == {drawing_settings.checkpoint}
    assert (studio.is_loaded(other), studio.is_loaded("nothing")) == (False, False)
    studio.unload()
    assert studio.loaded_checkpoints == frozenset()


def test_a_replaced_checkpoint_is_not_in_memory(
    drawing_settings: Settings, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    studio, own = Studio(drawing_settings), tmp_path / "own"
    shutil.copytree(tiny("sd2"), own)
    studio.preload(str(own))
    assert studio.is_loaded(str(own))
    for file in own.rglob("*.safetensors"):
        os.utime(file, (0, 2_000_000_000))
    assert not studio.is_loaded(str(own))
    studio.preload(str(own))
    assert studio.is_loaded(str(own))
    shutil.rmtree(own)
    with pytest.raises(CheckpointMissingError):
        studio.is_loaded(str(own))


def test_upscaling_judges_before_and_after(drawing_studio: Studio, tmp_path: Path) -> None:
    (drawn,) = drawing_studio.generate("a red cat", **SMALL)
    path = drawn.save(tmp_path / "cat.png")
    enlarged = drawing_studio.upscale(path, by=1.5)
    assert enlarged.image is not None
    assert enlarged.image.size == (96, 96)
    assert (enlarged.factor, enlarged.upscaler) == (1.5, "lanczos")
    assert enlarged.infotext is not None
    assert enlarged.infotext.startswith("a red cat")
    with pytest.raises(BlockedError):
        drawing_studio.upscale(path, policy=NOTHING)
    assert drawing_studio.upscale(INIT_IMAGE).infotext is None
    assert drawing_studio.upscale(np.asarray(INIT_IMAGE), by=1).image == INIT_IMAGE


@pytest.mark.parametrize("by", [0.5, 9, float("nan"), float("inf"), -1])
def test_an_invalid_scale_factor(by: float, drawing_studio: Studio) -> None:
    with pytest.raises(RequestError, match="Enlarging by"):
        drawing_studio.upscale(INIT_IMAGE, by=by)


def test_images_that_cannot_be_upscaled(drawing_studio: Studio, drawing_settings: Settings) -> None:
    with pytest.raises(UpscalerUnknownError):
        drawing_studio.upscale(INIT_IMAGE, upscaler="nonsense")
    small = Studio(drawing_settings.model_copy(update={"max_pixels": 5000}))
    with pytest.raises(MemoryBudgetError):
        small.upscale(INIT_IMAGE, by=2)


def test_a_blocked_upscaled_image_has_no_pixels(
    drawing_studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy allows the image itself and blocks what an upscaler made of it."""
    blocked = drawing_studio.moderator(policy=NOTHING).judge(INIT_IMAGE)
    judge = Moderator.judge

    def stricter(self: Moderator, source: Any) -> Verdict:
        return judge(self, source) if source.size == INIT_IMAGE.size else blocked

    monkeypatch.setattr(Moderator, "judge", stricter)
    enlarged = drawing_studio.upscale(INIT_IMAGE, by=2)
    assert enlarged.image is None
    assert enlarged.to_dict()["width"] is None
    with pytest.raises(BlockedError, match="blocks the upscaled picture"):
        enlarged.save("never.png")


def test_a_prompt_is_explained(drawing_studio: Studio, tiny: Callable[[str], Path]) -> None:
    request = GenerationRequest.parse(prompt="a (red:1.3) cat", negative_prompt="[blue]")
    found = drawing_studio.explain_prompt(request)
    assert set(found) == {"prompt", "negative prompt"}


def test_the_default_policy_is_the_settings(drawing_studio: Studio) -> None:
    (picture,) = drawing_studio.generate("a cat", **SMALL)
    assert picture.verdict.policy.name == "anything"
    assert picture.verdict.policy.digest == ANYTHING.digest


def test_former_names_of_the_api_still_work_with_a_warning(drawing_settings: Settings) -> None:
    with pytest.warns(DeprecationWarning, match="on_message"):
        studio = Studio(drawing_settings, tell=lambda _: None)
    request = GenerationRequest(prompt="a red apple", steps=1, seed=1)
    with pytest.warns(DeprecationWarning, match="iter_generate"):
        (former,) = studio.draw(request, alone=True)
    (present,) = studio.iter_generate(request, unbatched=True)
    assert former.image == present.image
