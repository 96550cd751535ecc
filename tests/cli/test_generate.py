"""The commands run within this process; Ctrl-C needs a real one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cli.conftest import CommandResult, RunCommand
from tests.generation.lora_files import write_lora
from tests.tiny.checkpoint_files import write_vae

from safelight.cli.generation import OutputTarget, StepProgress, apply_set_options, parse_size
from safelight.errors import OutputError, UsageError
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks

QUICK = ("--steps", "2", "--seed", "7", "--size", "64x64")


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_images_are_written_and_listed(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("generate", "a red cat", *QUICK, "--count", "2", "--out", "out")
    assert ran.status == 0
    assert pictures(tmp_path / "out") == ["a-red-cat-7.png", "a-red-cat-8.png"]
    assert "a-red-cat-7.png  seed 7" in ran.out
    again = inside("generate", "a red cat", *QUICK, "--out", "out")
    assert again.status == 0
    assert "a-red-cat-7-2.png" in again.out
    first, second = (
        (tmp_path / "out" / name).read_bytes() for name in ("a-red-cat-7.png", "a-red-cat-7-2.png")
    )
    assert first == second


def test_json_is_one_line_an_image_and_nothing_else(inside: RunCommand, tmp_path: Path, tiny: Any) -> None:
    ran = inside("generate", "a (red:1.2) cat", *QUICK, "-c", "2", "--json", "--guidance", "1", "-n", "blue")
    assert ran.status == 0
    first, second = ran.json_lines
    assert (first["seed"], second["seed"]) == (7, 8)
    assert first["path"] == "safelight-pictures/a-red-1-2-cat-7.png"
    assert (tmp_path / first["path"]).exists()
    assert (first["width"], first["height"], first["steps"]) == (64, 64, 2)
    assert first["sampler"] == "DPM++ 2M"
    assert first["checkpoint"] == str(tiny("sd1"))
    assert first["seconds"] > 0
    assert first["verdict"]["decision"] == "allow"
    assert first["notes"] == ["Without guidance (scale 1) the negative prompt has no effect."]


@pytest.mark.parametrize(
    ("arguments", "name", "kind"),
    [
        (["--out", "x.jpg"], "x.jpg", "JPEG"),
        (["--out", "deep/x.webp"], "deep/x.webp", "WEBP"),
        (["--format", "jpeg", "--file-quality", "50", "--out", "o"], "o/a-cat-7.jpg", "JPEG"),
        (["--format", "webp", "--out", "o"], "o/a-cat-7.webp", "WEBP"),
        (["--format", "jpeg", "--out", "x.jpeg"], "x.jpeg", "JPEG"),
    ],
)
def test_the_format_follows_from_the_path(
    arguments: list[str], name: str, kind: str, inside: RunCommand, tmp_path: Path
) -> None:
    assert inside("generate", "a cat", *QUICK, *arguments).status == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind


def test_every_option_is_in_the_record(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside(
        *("generate", "a cat", *QUICK, "-n", "blue", "--sampler", "euler a", "--schedule", "karras"),
        *("--guidance", "5", "--clip-skip", "2", "--hires", "1.5", "--hires-upscaler", "lanczos"),
        *("--hires-strength", "0.6", "--set", "hires.steps=4", "--set", "guidance_rescale=0.5"),
        *("--set", 'variation={"seed":3,"strength":0.1}', "--out", "x.png"),
    )
    assert ran.status == 0, ran.err
    record = inside("info", "x.png", "--json").json_body["record"]
    assert record["negative_prompt"] == "blue"
    assert (record["sampler"], record["schedule"]) == ("Euler a", "karras")
    assert (record["guidance_scale"], record["clip_skip"], record["guidance_rescale"]) == (5, 2, 0.5)
    assert record["hires"] == {
        "scale": 1.5,
        "upscaler": "lanczos",
        "strength": 0.6,
        "steps": 4,
        "all_steps": False,
        "sampler": None,
    }
    assert record["variation"] == {"seed": 3, "strength": 0.1, "same_seed": False}
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (96, 96)


def test_the_checkpoint_that_is_used_is_named(inside: RunCommand) -> None:
    ran = inside("generate", "a cat", *QUICK, "--set", "checkpoint=nowhere")
    assert (ran.status, ran.err.splitlines()[0]) == (2, "Loading nowhere …")


def test_set_options_override_fields_and_go_into_their_group() -> None:
    fields = {"hires": {"scale": 2.0}, "steps": 5}
    found = apply_set_options(fields, ["hires.steps=3", "steps=9", "prompt=a = b", "eta=0.5", "mask=null"])
    assert found == {
        "hires": {"scale": 2.0, "steps": 3},
        "steps": 9,
        "prompt": "a = b",
        "eta": 0.5,
        "mask": None,
    }
    assert fields == {"hires": {"scale": 2.0}, "steps": 5}
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        apply_set_options({}, ["steps"])
    with pytest.raises(UsageError, match="hires was given as 2"):
        apply_set_options({}, ["hires=2", "hires.scale=2"])


def test_a_size_is_two_whole_numbers() -> None:
    assert parse_size(None) == {}
    assert parse_size("128x64") == parse_size(" 128 X 64 ") == {"width": 128, "height": 64}
    for size in ("128", "128x", "x", "axb", "-1x5", "1.5x2", "128x128x3", "9" * 5000 + "x1"):
        with pytest.raises(UsageError, match="as in 128x128"):
            parse_size(size)


WRONG: list[tuple[list[str], str]] = [
    (["--steps", "-5"], "request.below_minimum"),
    (["--size", "3x64"], "request.below_minimum"),
    (["--size", "130x64"], "request.not_multiple"),
    (["--size", "large"], "usage"),
    (["--guidance", "nan"], "request.type"),
    (["--sampler", "nonsense"], "sampler.unknown"),
    (["--sampler", "Euler FlowMatch"], "sampler.unfit"),
    (["--schedule", "nonsense"], "sampler.unknown"),
    (["--style", "nonsense"], "prompt.style"),
    (["--checkpoint", "nonsense"], "checkpoint.missing"),
    (["--hires", "2", "--hires-upscaler", "nonsense"], "upscaler.unknown"),
    (["--size", "16384x16384"], "memory.budget"),
    (["--set", "nonsense=1"], "request.unknown_field"),
    (["--set", "steps"], "usage"),
    (["--set", "pag_scale=1e999"], "request.type"),
    (["--format", "bmp"], "usage"),
    (["--file-quality", "0"], "usage"),
    (["--out", "x.jpg", "--format", "webp"], "usage"),
    (["--out", "x.png", "--count", "2"], "usage"),
    (["--count", "0"], "request.below_minimum"),
    (["--policy", "nowhere.toml"], "file.missing"),
    (["--nonsense"], "usage"),
]


@pytest.mark.parametrize(
    ("arguments", "code"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_invalid_input_is_one_error_and_writes_no_file(
    arguments: list[str], code: str, inside: RunCommand, tmp_path: Path
) -> None:
    ran = inside("generate", "a cat", "--steps", "2", *arguments, "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == code
    assert ran.json_body["error"]["hint"]
    assert f"error [{code}]" in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_unwritable_paths_are_found_before_anything_is_loaded(inside: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for out in ("file", "file/deep", "file/x.png", "folder.png"):
        ran = inside("generate", "a cat", *QUICK, "--out", out, "--json")
        assert (ran.status, ran.json_body["error"]["code"]) == (2, "output")
        assert "Loading" not in ran.err


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who ignores permissions
    with pytest.raises(OutputError, match="no folder that may be written to"):
        OutputTarget(tmp_path / "new" / "deep", None, 95, 1)


def test_blocked_images_are_not_written(inside: RunCommand, nothing_goes: Path, tmp_path: Path) -> None:
    ran = inside("generate", "a cat", *QUICK, "-c", "2", "--policy", nothing_goes, "--json", "--out", "out")
    assert ran.status == 1
    assert [line["path"] for line in ran.json_lines] == [None, None]
    assert [line["verdict"]["decision"] for line in ran.json_lines] == ["block", "block"]
    assert not (tmp_path / "out").exists()
    told = inside("generate", "a cat", *QUICK, "--policy", nothing_goes, "--out", "out")
    assert told.status == 1
    assert "blocked" in told.out
    assert "policy nothing-goes blocks the picture with seed 7" in told.out
    assert not (tmp_path / "out").exists()


def test_an_image_for_review_is_written_and_flagged(inside: RunCommand, tmp_path: Path) -> None:
    policy = tmp_path / "doubt.toml"
    policy.write_text(
        'name = "doubt"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 1.0 }\n'
    )
    ran = inside("generate", "a cat", *QUICK, "--policy", policy, "--out", "out")
    assert ran.status == 1
    assert "review" in ran.out
    assert pictures(tmp_path / "out") == ["a-cat-7.png"]


def test_non_finite_output_writes_nothing(inside: RunCommand, tiny: Any, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "broken"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(
        {name: torch.full_like(each, float("nan")) for name, each in load_file(weights).items()}, weights
    )
    ran = inside("generate", "a cat", *QUICK, "--checkpoint", folder, "--out", "out", "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (3, "generation.numbers")
    assert not (tmp_path / "out").exists()


def test_explaining_generates_nothing(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("generate", "a (red:1.3) [cat:dog:0.5]", "-n", "blue", "--explain-prompt", "--json")
    assert ran.status == 0
    assert set(ran.json_body) == {"prompt", "negative prompt"}
    assert list(tmp_path.iterdir()) == []
    assert "1.3" in inside("generate", "a (red:1.3) cat", "--explain-prompt").out


def test_the_status_and_one_object(inside: RunCommand, tiny: Any) -> None:
    """Without wrong input or an interruption. A process of its own that succeeds: see tests/bench/test_generate.py."""
    ran = inside("generate", "a cat", *QUICK, "--checkpoint", tiny("sd1"), "--out", "o", "--json")
    assert ran.status == 0
    assert ran.json_body["path"].startswith("o/a-cat-7")
    assert inside("generate", "a cat", "--steps", "0", "--json").status == 2


# Ctrl-C


def start(environment: dict[str, str], tiny: Callable[[str], Path], working: Path, *more: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "safelight", "generate", "a cat", "--size", "64x64", "--seed", "7", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=working,
        env=environment | {"SAFELIGHT_CHECKPOINT": str(tiny("sd1")), "SAFELIGHT_DEVICE": "cpu"},
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_written_images(
    environment: dict[str, str], tiny: Callable[[str], Path], tmp_path: Path, anything_goes: Path
) -> None:
    out = tmp_path / "out"
    more = ("--count", "1000", "--steps", "10", "--out", "out", "--policy", str(anything_goes), "--json")
    with start(environment, tiny, tmp_path, *more) as process:
        wait_for(lambda: out.exists() and len(list(out.glob("*.png"))) >= 2)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping after this step" in said
    assert "Traceback" not in said
    assert "error" not in said
    written = pictures(out)
    lines = CommandResult(0, printed, said).json_lines
    assert sorted(Path(line["path"]).name for line in lines) == written
    for name in written:
        with Image.open(out / name) as picture:
            picture.load()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("keep", [False, True])
def test_ctrl_c_during_an_image(
    keep: bool, inside: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(_: Any, progress: Any) -> None:
        if progress.picture == 1 and progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(StepProgress, "report", press)
    more = ("--steps", "5", "--count", "4", "--out", "out", "--json", *(["--keep-partial"] if keep else []))
    ran = inside("generate", "a cat", "--seed", "7", "--size", "64x64", *more)
    assert ran.status == 130
    assert "error" not in ran.err
    stopped = [line["stopped_at"] for line in ran.json_lines]
    assert stopped == ([None, 2] if keep else [None])
    assert pictures(tmp_path / "out") == ["a-cat-7.png", "a-cat-8.png"][: 1 + keep]
    if keep:
        assert "unfinished" in ran.json_lines[1]["notes"][-1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def ink_and_oil(home: Path, tiny: Any) -> Iterator[None]:
    networks = empty_networks(find_checkpoint(str(tiny("sd1")), home))
    for seed, name in enumerate(("ink", "oil")):
        write_lora(home / "loras" / f"{name}.safetensors", {"unet": networks["unet"]}, seed=seed)
    yield
    shutil.rmtree(home / "loras")


@pytest.mark.usefixtures("ink_and_oil")
def test_adapters(inside: RunCommand) -> None:
    ran = inside(
        "generate", "a cat", *QUICK, "--lora", "ink:0.8", "--lora", "oil:te=0:unet=0@0,1@1", "--json"
    )
    (found,) = ran.json_lines
    assert [(each["name"], each["strength"]) for each in found["adapters"]] == [("ink", 0.8), ("oil", 0.0)]
    assert found["adapters"][1]["denoiser"] == "0@0,1@1"
    shown = inside("info", found["path"])
    assert "ink at 0.8, oil at 0.0" in shown.out
    assert "<lora:oil:te=0:unet=0@0,1@1>" in shown.out
    missing = inside("generate", "a cat", *QUICK, "--lora", "inc:0.8")
    assert missing.status == 2
    assert "There is no LoRA called inc" in missing.err


def test_another_autoencoder(inside: RunCommand, tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vaes" / "other.safetensors")
    own = inside("generate", "a red cat", *QUICK, "--out", "own.png")
    other = inside("generate", "a red cat", *QUICK, "--out", "other.png", "--vae", str(path))
    assert (own.status, other.status) == (0, 0), other.err
    assert (tmp_path / "own.png").read_bytes() != (tmp_path / "other.png").read_bytes()
    missing = inside("generate", "a red cat", *QUICK, "--vae", "gone")
    assert missing.status == 2
    assert "There is no autoencoder or text encoder 'gone'" in missing.err
