from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from spandrel import ImageModelDescriptor, MaskedImageModelDescriptor
from spandrel.architectures.Compact import Compact, CompactArch
from spandrel.architectures.ESRGAN import ESRGAN

from safelight.errors import (
    BackendError,
    FileMissingError,
    ImageArrayError,
    ImageZeroSizeError,
    MemoryBudgetError,
    ModelInvalidError,
    NonFiniteError,
    PickleRefusedError,
    RequestError,
    RunStoppedError,
    UpscalerUnknownError,
)
from safelight.generation.upscaling import (
    UPSCALERS,
    Upscaler,
    find_upscalers,
    load_upscaler,
    registry,
)
from safelight.generation.upscaling.registry import PACKAGED_FOLDER
from safelight.generation.upscaling.scale_factor import read_scale_factor
from safelight.generation.upscaling.tiles import Tiling
from safelight.generation.upscaling.weights import check_image_to_image
from safelight.images import decode
from safelight.samples import sample_photographs


def compact(*, scale: int = 2, channels: int = 3, seed: int = 0) -> Compact:
    """A network whose output at one pixel depends on nothing farther than four pixels away."""
    torch.manual_seed(seed)
    return Compact(num_in_ch=channels, num_out_ch=channels, num_feat=6, num_conv=2, upscale=scale)


def save(network: torch.nn.Module, path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path, metadata)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with one network, x2."""
    save(compact(), tmp_path / "upscalers" / "small-x2.safetensors")
    return tmp_path


@pytest.fixture(autouse=True)
def unshipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the shipped networks; returns their folder."""
    monkeypatch.setattr(registry, "PACKAGED_FOLDER", tmp_path / "shipped")
    return PACKAGED_FOLDER


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return decode(sample_photographs()[0]).image.resize((150, 110), Image.Resampling.LANCZOS)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", UPSCALERS)
@pytest.mark.parametrize("factor", [1, 1.5, 2, 3.33])
def test_resampling_gives_the_exact_size(
    name: str, factor: float, photograph: Image.Image, tmp_path: Path
) -> None:
    shares: list[float] = []
    upscaler = load_upscaler(name, tmp_path)
    result = upscaler.upscale(photograph, factor, on_progress=shares.append)
    assert result.size == (round(150 * factor), round(110 * factor))
    assert (result.mode, shares, upscaler.name) == ("RGB", [1.0], name)
    assert (upscaler.factor, upscaler.digest) == (None, None)


def test_each_filter_matches_its_name(tmp_path: Path) -> None:
    edge = Image.fromarray(np.array([[[0] * 3, [0] * 3, [255] * 3, [255] * 3]] * 4, np.uint8))
    results = {name: pixels(load_upscaler(name, tmp_path).upscale(edge, 4))[8, :, 0] for name in UPSCALERS}
    assert set(results["nearest"]) == {0, 255}
    assert list(results["bilinear"]) == sorted(results["bilinear"])
    assert len({tuple(row) for row in results.values()}) == 4


def test_a_network_upscales_as_its_weights_define(folder: Path, photograph: Image.Image) -> None:
    result = load_upscaler("small-x2", folder).upscale(photograph, 2)
    values = torch.from_numpy(np.array(photograph, np.float32) / 255).movedim(-1, 0)[None]
    with torch.no_grad():
        expected = compact()(values)[0].clamp(0, 1).mul(255).round().movedim(0, -1).numpy()
    assert np.abs(pixels(result) - expected).max() <= 1
    assert np.abs(pixels(result) - pixels(photograph.resize((300, 220), Image.Resampling.NEAREST))).mean() > 5


@pytest.mark.parametrize("factor", [1, 1.37, 2, 2.5, 4, 5])
def test_a_network_is_applied_until_the_size_is_reached(folder: Path, factor: float) -> None:
    picture = Image.effect_noise((31, 17), 60).convert("RGB")
    result = load_upscaler("small-x2", folder).upscale(picture, factor)
    assert (result.size, result.mode) == ((round(31 * factor), round(17 * factor)), "RGB")


def test_two_applications_are_one_after_the_other(folder: Path, photograph: Image.Image) -> None:
    upscaler = load_upscaler("small-x2", folder)
    picture = photograph.resize((40, 30))
    twice = upscaler.upscale(upscaler.upscale(picture, 2), 2)
    assert upscaler.upscale(picture, 4).tobytes() == twice.tobytes()
    reduced = twice.resize((120, 90), Image.Resampling.LANCZOS)
    assert upscaler.upscale(picture, 3).tobytes() == reduced.tobytes()


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_tiling_equals_the_whole_image(tmp_path: Path, photograph: Image.Image, scale: int) -> None:
    path = save(compact(scale=scale), tmp_path / "n.safetensors")
    whole = load_upscaler(path, tmp_path, tiling=Tiling(tile=512)).upscale(photograph, scale)
    tiled = load_upscaler(path, tmp_path, tiling=Tiling(tile=60, overlap=16)).upscale(photograph, scale)
    assert np.abs(pixels(whole) - pixels(tiled)).max() <= 1


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_scale_factor_is_read_from_the_header(tmp_path: Path, scale: int, channels: int) -> None:
    assert (
        read_scale_factor(save(compact(scale=scale, channels=channels), tmp_path / "8x.safetensors")) == scale
    )


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_the_scale_factor_of_esrgan_is_read_from_the_header(tmp_path: Path, scale: int) -> None:
    """In the three layouts that such files have."""
    old = ESRGAN(num_filters=4, num_blocks=1, scale=scale).state_dict()
    save_file(dict(old), tmp_path / "old.safetensors")
    assert read_scale_factor(tmp_path / "old.safetensors") == scale
    for first, up in (("upconv", "HRconv"), ("conv_up", "conv_hr")):
        names = [
            "conv_first",
            *(f"{first}{number + 1}" for number in range(scale.bit_length() - 1)),
            up,
            "conv_last",
        ]
        tensors = {f"{name}.weight": torch.zeros(3 if name == "conv_last" else 4, 3, 3, 3) for name in names}
        save_file(tensors, tmp_path / "new.safetensors")
        assert read_scale_factor(tmp_path / "new.safetensors") == scale


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("4x-Sharp", 4),
        ("Real_x2plus", 2),
        ("net_8X", 8),
        ("sharp", None),
        ("12x", None),
        ("max4", None),
        ("64x64", None),
    ],
)
def test_otherwise_the_scale_factor_is_read_from_the_name(
    tmp_path: Path, name: str, factor: int | None
) -> None:
    save_file({"patch_embed.weight": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    assert read_scale_factor(tmp_path / f"{name}.safetensors") == factor


def test_damaged_files_have_no_scale_factor(tmp_path: Path) -> None:
    (tmp_path / "4x.safetensors").write_bytes(b"nothing")
    assert read_scale_factor(tmp_path / "4x.safetensors") is None
    assert read_scale_factor(tmp_path / "gone-4x.safetensors") is None
    save_file(
        {"body.0.weight": torch.zeros(2), "body.1.weight": torch.zeros(2)}, tmp_path / "odd-4x.safetensors"
    )
    assert read_scale_factor(tmp_path / "odd-4x.safetensors") is None


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_for_other_channels_keep_colours(
    tmp_path: Path, channels: int, photograph: Image.Image
) -> None:
    network = compact(channels=channels)
    for part in network.body[-1].parameters():  # the residual's base is left: each pixel repeated
        torch.nn.init.zeros_(part)
    result = load_upscaler(save(network, tmp_path / "n.safetensors"), tmp_path).upscale(photograph, 2)
    assert result.tobytes() == photograph.resize((300, 220), Image.Resampling.NEAREST).tobytes()


def test_esrgan_is_recognised_by_its_tensors(tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = save(ESRGAN(num_filters=8, num_blocks=2, scale=4), tmp_path / "esr.safetensors")
    upscaler = load_upscaler(str(path), tmp_path)
    assert (upscaler.factor, upscaler.name) == (4, "esr")
    assert read_scale_factor(path) == 4
    assert upscaler.upscale(Image.new("RGB", (20, 9), "teal"), 4).size == (80, 36)


def test_a_network_that_requires_multiples_accepts_any_size(tmp_path: Path) -> None:
    """Real-ESRGAN's x2 networks shuffle 2 x 2 pixels into channels first."""
    network = ESRGAN(in_nc=12, num_filters=8, num_blocks=2, scale=4, shuffle_factor=2)
    path = save(network, tmp_path / "u.safetensors")
    upscaler = load_upscaler(path, tmp_path, tiling=Tiling(32, 8))
    assert upscaler.factor == read_scale_factor(path) == 2
    for size in [(1, 1), (3, 50), (71, 33)]:
        assert upscaler.upscale(Image.new("RGB", size), 2).size == (2 * size[0], 2 * size[1])


def test_a_restoration_network_works_at_its_own_size_only(tmp_path: Path, photograph: Image.Image) -> None:
    upscaler = load_upscaler(save(compact(scale=1), tmp_path / "denoise.safetensors"), tmp_path)
    result = upscaler.upscale(photograph, 1)
    assert result.size == photograph.size
    assert result.tobytes() != photograph.tobytes()
    with pytest.raises(RequestError, match="does not enlarge"):
        upscaler.upscale(photograph, 2)


def test_the_same_image_gives_the_same_result(folder: Path, photograph: Image.Image) -> None:
    results = {load_upscaler("small-x2", folder).upscale(photograph, 2).tobytes() for _ in range(2)}
    assert len(results) == 1


def test_a_network_with_random_numbers_is_deterministic(tmp_path: Path) -> None:
    upscaler = load_upscaler(save(compact(), tmp_path / "n.safetensors"), tmp_path)
    upscaler.network._call_fn = lambda model, image: model(image) + torch.rand(1)  # as AuraSR's does
    picture = Image.new("RGB", (40, 40), "grey")
    results = set()
    for seed in (1, 2):
        state = torch.manual_seed(seed).get_state()
        results.add(upscaler.upscale(picture, 2).tobytes())
        assert torch.equal(state, torch.get_rng_state())
    assert len(results) == 1


def test_the_digest_is_the_files(folder: Path) -> None:
    data = (folder / "upscalers" / "small-x2.safetensors").read_bytes()
    assert load_upscaler("small-x2", folder).digest == hashlib.sha256(data).hexdigest()


def test_progress_rises_to_one(folder: Path, photograph: Image.Image) -> None:
    shares: list[float] = []
    upscaler = load_upscaler("small-x2", folder, tiling=Tiling(64, 16))
    upscaler.upscale(photograph, 4, on_progress=shares.append)
    assert len(shares) > 6
    assert shares == sorted(set(shares))
    assert shares[-1] == 1


@pytest.mark.parametrize("name", ["small-x2", "lanczos"])
def test_a_stop_before_the_first_tile(folder: Path, name: str) -> None:
    with pytest.raises(RunStoppedError):
        load_upscaler(name, folder).upscale(Image.new("RGB", (9, 9)), 2, should_stop=lambda: True)


def test_a_stop_ends_it_within_one_tile(folder: Path, photograph: Image.Image) -> None:
    shares: list[float] = []
    upscaler = load_upscaler("small-x2", folder, tiling=Tiling(64, 16))
    with pytest.raises(RunStoppedError):
        upscaler.upscale(photograph, 2, on_progress=shares.append, should_stop=lambda: len(shares) >= 3)
    assert len(shares) == 3


@pytest.mark.parametrize("name", ["small-x2", "lanczos"])
def test_too_large_a_result_is_refused_before_any_work(folder: Path, name: str) -> None:
    upscaler = load_upscaler(name, folder)
    picture = Image.new("RGB", (100, 100))
    assert upscaler.upscale(picture, 2, max_pixels=40_000).size == (200, 200)
    with pytest.raises(MemoryBudgetError, match="202 x 202"):
        upscaler.upscale(picture, 2.02, max_pixels=40_000, on_progress=lambda _: pytest.fail("worked"))
    with pytest.raises(MemoryBudgetError):
        upscaler.upscale(picture, 1e9)


def test_too_large_an_intermediate_image_is_refused(tmp_path: Path) -> None:
    upscaler = load_upscaler(save(compact(scale=4), tmp_path / "n.safetensors"), tmp_path)
    picture = Image.new("RGB", (20, 20))
    assert upscaler.upscale(picture, 2, max_pixels=1600).size == (40, 40)
    with pytest.raises(MemoryBudgetError, match="80 x 80"):
        upscaler.upscale(picture, 1.9, max_pixels=1599)


@pytest.mark.parametrize("name", ["small-x2", "nearest"])
@pytest.mark.parametrize("factor", [0, 0.5, -2, float("nan"), float("inf")])
def test_impossible_factors(folder: Path, name: str, factor: float) -> None:
    with pytest.raises(RequestError, match="not possible"):
        load_upscaler(name, folder).upscale(Image.new("RGB", (8, 8)), factor)


def test_only_rgb_images_that_are_not_empty(tmp_path: Path) -> None:
    upscaler = load_upscaler("lanczos", tmp_path)
    with pytest.raises(ImageArrayError, match="RGBA"):
        upscaler.upscale(Image.new("RGBA", (8, 8)), 2)
    with pytest.raises(ImageZeroSizeError, match="0 x 8"):
        upscaler.upscale(Image.new("RGB", (0, 8)), 2)


def test_listing_opens_no_file_and_needs_no_folder(tmp_path: Path) -> None:
    assert [info.name for info in find_upscalers(tmp_path)] == list(UPSCALERS)
    upscalers = tmp_path / "upscalers"
    (upscalers / "folder.safetensors").mkdir(parents=True)
    for name in ("b.v2.safetensors", "a.safetensors", ".hidden.safetensors", "c.pth", "lanczos.safetensors"):
        (upscalers / name).write_bytes(b"")
    found = find_upscalers(tmp_path)[len(UPSCALERS) :]
    assert [(info.name, info.path, info.kind) for info in found] == [
        ("a", upscalers / "a.safetensors", "network"),
        ("b.v2", upscalers / "b.v2.safetensors", "network"),
    ]
    assert json.dumps(found[0].to_dict())


def test_a_users_file_overrides_a_shipped_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    for name in ("small-x2", "starter-x4"):
        save(compact(scale=4), shipped / f"{name}.safetensors")
    monkeypatch.setattr("safelight.generation.upscaling.registry.PACKAGED_FOLDER", shipped)
    assert load_upscaler("small-x2", folder).factor == 2
    assert load_upscaler("starter-x4", folder).factor == 4


def test_the_shipped_network_sharpens_edges(
    unshipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain shapes on plain ground are its training data."""
    monkeypatch.setattr(registry, "PACKAGED_FOLDER", unshipped)
    names = [info.name for info in find_upscalers(tmp_path) if info.kind == "network"]
    assert names == ["starter-2x"]
    large = Image.new("RGB", (1024, 1024), "white")
    draw = ImageDraw.Draw(large)
    draw.ellipse((100, 140, 620, 660), fill="crimson")
    draw.polygon([(500, 900), (940, 880), (760, 300)], fill="royalblue")
    draw.line((120, 820, 420, 940), fill="black", width=24)
    goal = large.resize((256, 256), Image.Resampling.LANCZOS)
    small = large.resize((128, 128), Image.Resampling.LANCZOS)

    def psnr(name: str) -> float:
        error = pixels(load_upscaler(name, tmp_path).upscale(small, 2)) - pixels(goal)
        return float(10 * np.log10(255**2 / np.mean(error**2)))

    assert psnr("starter-2x") > psnr("lanczos") + 2


def test_an_unknown_name_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UpscalerUnknownError, match="'Lanczoss'") as caught:
        load_upscaler("Lanczoss", folder)
    assert "Did you mean 'lanczos'?" in caught.value.hint
    assert "nearest, bilinear, bicubic, lanczos, small-x2" in caught.value.hint
    with pytest.raises(UpscalerUnknownError) as caught:
        load_upscaler("", folder)
    assert "mean" not in caught.value.hint


@pytest.mark.parametrize("name", ["gone.safetensors", "./gone", "no\0name/x", Path("lanczos")])
def test_a_path_that_does_not_exist(folder: Path, name: str | Path) -> None:
    with pytest.raises(FileMissingError):
        load_upscaler(name, folder)


class PickleTrap:
    """An object whose unpickling writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_never_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "renamed.safetensors"
    path.write_bytes(pickle.dumps(PickleTrap(mark), protocol))
    # Protocols 0 and 1 have no magic number; the error is just that they are no safetensors.
    with pytest.raises(PickleRefusedError if protocol >= 2 else ModelInvalidError):
        load_upscaler(path, tmp_path)
    torch.save({"x": PickleTrap(mark)}, path)
    with pytest.raises(PickleRefusedError, match="whatever its name"):
        load_upscaler(path, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".PTH"])
def test_pickle_names_are_refused_unread(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(PickleRefusedError):
        load_upscaler(f"4x{suffix}", tmp_path)
    with pytest.raises(PickleRefusedError):
        load_upscaler(tmp_path / f"4x{suffix}", tmp_path)


def test_a_pickle_in_the_folder_is_listed_with_the_reason(folder: Path) -> None:
    (folder / "upscalers" / "4x-UltraSharp.pth").write_bytes(b"")
    with pytest.raises(PickleRefusedError, match="4x-UltraSharp"):
        load_upscaler("4x-UltraSharp", folder)


def test_a_header_length_that_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    path = save(compact(), tmp_path / "n.safetensors")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    padded = data[8 : 8 + length].ljust(length + (0x80 - length) % 0x100)
    path.write_bytes(len(padded).to_bytes(8, "little") + padded + data[8 + length :])
    assert path.read_bytes()[0] == 0x80
    assert load_upscaler(path, tmp_path).factor == 2


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10" + b"\0" * 7 + b"{" + b"x" * 15])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelInvalidError, match="not a whole safetensors file"):
        load_upscaler(path, tmp_path)


def test_a_file_cut_short(folder: Path) -> None:
    path = folder / "upscalers" / "small-x2.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelInvalidError, match="not a whole safetensors file"):
        load_upscaler("small-x2", folder)


def test_unknown_architectures_are_named(tmp_path: Path) -> None:
    path = save(torch.nn.Linear(3, 3), tmp_path / "n.safetensors")
    with pytest.raises(ModelInvalidError, match=r"unknown architecture .*bias, weight"):
        load_upscaler(path, tmp_path)
    save(torch.nn.Linear(3, 3), path, {"modelspec.architecture": "novel-net"})
    with pytest.raises(ModelInvalidError, match="novel-net"):
        load_upscaler(path, tmp_path)
    save_file({}, path)
    with pytest.raises(ModelInvalidError, match="none"):
        load_upscaler(path, tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"body.2.weight": torch.zeros(5, 6, 3, 3)}, "cannot be built"),
        ({"body.6.bias": torch.zeros(7)}, "cannot be built"),
        ({"body.0.weight": torch.zeros(2)}, "cannot be built"),
        ({"body.999999999.weight": torch.zeros(1)}, "layers beyond"),
        ({"body.first.weight": torch.zeros(1)}, "cannot be built"),
    ],
)
def test_inconsistent_tensors(tmp_path: Path, change: dict[str, torch.Tensor], match: str) -> None:
    path = tmp_path / "n.safetensors"
    save_file(dict(compact().state_dict()) | change, path)
    with pytest.raises(ModelInvalidError, match=match):
        load_upscaler(path, tmp_path)


def described(purpose: str = "SR", inputs: int = 3, outputs: int = 3, scale: int = 2) -> ImageModelDescriptor:
    network = compact()
    return ImageModelDescriptor(
        network, network.state_dict(), CompactArch(), purpose, [], True, True, scale, inputs, outputs
    )


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (described("FaceSR"), "faces"),
        (described(inputs=1), "3 channels from 1"),
        (described(scale=0), "smaller"),
        (
            MaskedImageModelDescriptor(
                compact(), compact().state_dict(), CompactArch(), "Inpainting", [], True, True, 3, 3
            ),
            "masks",
        ),
    ],
)
def test_other_networks_are_refused(network: ImageModelDescriptor, match: str) -> None:
    with pytest.raises(ModelInvalidError, match=match):
        check_image_to_image(Path("n.safetensors"), network)


def test_precision_is_the_one_asked_for(folder: Path, photograph: Image.Image) -> None:
    exact = load_upscaler("small-x2", folder).upscale(photograph, 2)
    half = load_upscaler("small-x2", folder, "cpu", torch.bfloat16).upscale(photograph, 2)
    difference = np.abs(pixels(exact) - pixels(half))
    assert 0 < difference.mean() < 2
    with pytest.raises(BackendError, match="float64"):
        load_upscaler("small-x2", folder, "cpu", torch.float64)


def test_a_network_without_half_precision_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ImageModelDescriptor.__init__

    def without(self: ImageModelDescriptor, *args: object, **kwargs: object) -> None:
        made(self, *args, **kwargs | {"supports_half": False})

    monkeypatch.setattr(ImageModelDescriptor, "__init__", without)
    with pytest.raises(BackendError, match="float16") as caught:
        load_upscaler("small-x2", folder, "cpu", torch.float16)
    assert caught.value.hint == "It can run in float32, bfloat16."


def test_a_non_finite_result_is_an_error(tmp_path: Path) -> None:
    network = compact()
    torch.nn.init.constant_(network.body[0].weight, float("nan"))
    upscaler = load_upscaler(save(network, tmp_path / "n.safetensors"), tmp_path)
    with pytest.raises(NonFiniteError):
        upscaler.upscale(Image.new("RGB", (8, 8)), 2)


def test_every_upscaler_implements_the_protocol(folder: Path) -> None:
    for info in find_upscalers(folder):
        upscaler: Upscaler = load_upscaler(info.name, folder)
        assert upscaler.name == info.name
        assert (upscaler.digest is None) == (info.kind == "resampling")


def test_listing_and_interpolation_need_no_torch(folder: Path) -> None:
    shutil.rmtree(folder / "upscalers")
    code = (
        "import sys, pathlib; from safelight.generation.upscaling import *; from PIL import Image\n"
        f"home = pathlib.Path({str(folder)!r}); find_upscalers(home)\n"
        "load_upscaler('lanczos', home).upscale(Image.new('RGB', (4, 4)), 2)\n"
        "sys.exit('torch' in sys.modules or 'spandrel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
