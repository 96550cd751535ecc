"""The precision of each component: chosen by family and device, obeyed or refused, recorded, named in errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from tests.generation.conftest import SIDE, loaded_checkpoint
from tests.tiny import components
from tests.tiny.generation import INIT_IMAGE, MASK
from torch._subclasses import FakeTensorMode

from safelight.errors import NonFiniteError, PrecisionError
from safelight.generation.autoencoder import AutoencoderProxy
from safelight.generation.engine import Engine
from safelight.generation.precision import other_precision, resolve_precisions, settings_of_run
from safelight.generation.quality import Quality
from safelight.generation.request import GenerationRequest
from safelight.models.families import FAMILIES, IMAGE, INPAINT, TEXT, Family
from safelight.runtime.compilation.speed import Speeds
from safelight.runtime.component import Component, ComponentKey
from safelight.runtime.devices.cuda import CudaDevice
from safelight.settings import Settings

Tiny = Callable[[str], Path]
FAST_BF16 = Speeds({"eager fp32": 200.0, "eager bf16": 500.0}, 20.0, 2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NEW, OLD, NONE = {"bf16", "fp16"}, {"fp16"}, set[Any]()
"""What GPUs compute: since Ampere, before it, and those with wrong fp16."""


def chosen(family: str, halves: set[Any], **settings: Any) -> tuple[str, str, str]:
    found = resolve_precisions(Settings(**settings), FAMILIES[family], CUDA, halves)
    return found.denoiser, found.text_encoders, found.vae


@pytest.mark.parametrize(
    ("level", "device", "speeds", "expected"),
    [
        ("balanced", CPU, None, "fp32"),
        ("balanced", CPU, FAST_BF16, "bf16"),
        ("fast", CPU, FAST_BF16, "bf16"),
        ("exact", CPU, FAST_BF16, "fp32"),
        ("exact", CUDA, FAST_BF16, "fp32"),
        ("balanced", CUDA, FAST_BF16, "fp16"),
    ],
)
def test_a_run_computes_in_what_its_level_permits_and_was_measured_to_be_faster(
    level: Quality, device: torch.device, speeds: Speeds | None, expected: str
) -> None:
    family = FAMILIES["sd1"]
    asked, set_so = Settings(generation_quality="fast"), Settings(generation_quality=level)
    found = [
        settings_of_run(asked, level, family, str(device), speeds),
        settings_of_run(set_so, None, family, str(device), speeds),
    ]
    assert [resolve_precisions(each, family, device, NEW).denoiser for each in found] == [expected] * 2


@pytest.mark.parametrize(
    ("family", "new", "old"),
    [
        ("sd1", ("fp16", "fp16", "fp16"), ("fp16", "fp16", "fp16")),
        ("sdxl", ("fp16", "fp16", "fp32"), ("fp16", "fp16", "fp32")),
        ("sd3", ("bf16", "bf16", "bf16"), ("fp16", "fp32", "fp32")),
        ("flux", ("bf16", "bf16", "bf16"), ("fp16", "fp32", "fp32")),
        ("qwen-image", ("bf16", "bf16", "bf16"), ("fp32", "fp32", "fp32")),
        ("pixart-sigma", ("fp16", "bf16", "fp32"), ("fp16", "fp32", "fp32")),
    ],
)
def test_an_accelerator_gets_the_familys_precisions(
    family: str, new: tuple[str, ...], old: tuple[str, ...]
) -> None:
    assert chosen(family, NEW) == new
    assert chosen(family, OLD) == old
    assert chosen(family, NONE) == ("fp32", "fp32", "fp32")
    on_cpu = resolve_precisions(Settings(), FAMILIES[family], CPU)
    assert {on_cpu.denoiser, on_cpu.text_encoders, on_cpu.vae, on_cpu.fp16_vae} == {"fp32"}


def test_a_setting_is_obeyed_by_the_components_that_compute_right_in_it() -> None:
    assert chosen("sdxl", NEW, generation_precision="bf16") == ("bf16", "bf16", "bf16")
    assert chosen("sdxl", NEW, generation_precision="fp16") == ("fp16", "fp16", "fp32")
    assert chosen("flux", NEW, generation_precision="fp16") == ("fp16", "bf16", "bf16")
    assert chosen("flux", NEW, generation_precision="fp32") == ("fp32", "fp32", "fp32")
    assert chosen("sdxl", NEW, vae_precision="fp16") == ("fp16", "fp16", "fp16")
    assert chosen("flux", NEW, text_encoder_precision="fp32") == ("bf16", "fp32", "bf16")


def test_a_setting_in_which_the_denoiser_computes_wrong_is_refused(tiny: Tiny, drawing_home: Path) -> None:
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_precision="fp16"))
    with pytest.raises(
        PrecisionError, match=r"transformer of Z-Image computes wrong pictures in fp16 \(card"
    ):
        engine.start(GenerationRequest.parse(prompt="", checkpoint=str(tiny("z-image"))))
    with pytest.raises(PrecisionError) as caught:
        chosen("qwen-image", OLD, generation_precision="fp16")
    assert caught.value.hint == "Set generation_precision to auto, or to bf16 or fp32."


def test_a_precision_that_the_device_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaDevice, "holds", lambda _, name: name != "bf16")
    for setting in ("generation_precision", "text_encoder_precision", "vae_precision"):
        with pytest.raises(PrecisionError, match="device cuda cannot compute in bf16"):
            chosen("sd1", OLD, **{setting: "bf16"})


def test_an_autoencoder_made_for_fp16_is_known_by_its_config() -> None:
    found = resolve_precisions(Settings(), FAMILIES["sdxl"], CUDA, NEW)
    assert found.of("vae", {"force_upcast": True}) == found.of("vae", {}) == "fp32"
    assert found.of("vae", {"force_upcast": False}) == "fp16"
    assert found.of("text_encoder_2", {}) == found.of("unet", {}) == "fp16"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_states_its_source(family: str) -> None:
    table = FAMILIES[family].precision
    assert table.source
    assert all((table.denoiser, table.text_encoders, table.vae))


@contextmanager
def on_gpu(halves: set[Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on the CPU with the precisions of a GPU."""
    with monkeypatch.context() as patch:
        settings = Settings(home=home, device="cpu")
        engine = Engine(settings)
        patch.setattr(
            Engine, "_precisions", lambda _, family: resolve_precisions(settings, family, CUDA, halves)
        )
        yield engine


INPUTS: dict[str, dict[str, Any]] = {
    TEXT: {"width": SIDE, "height": SIDE},
    IMAGE: {"init_image": INIT_IMAGE, "strength": 1.0},
    INPAINT: {"init_image": INIT_IMAGE, "mask": MASK, "strength": 1.0},
}


@pytest.mark.parametrize("name", [family.name for family in FAMILIES.values() if not family.variant])
def test_each_family_generates_in_the_precisions_of_a_new_gpu(
    name: str, tiny: Tiny, drawing_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES[name]
    with on_gpu(NEW, drawing_home, monkeypatch) as engine:
        check_run(engine, family, family.modes[-1], tiny)


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux", "sana", "pixart-sigma", "hunyuan-dit", "chroma"])
def test_components_in_different_precisions_work_together(
    name: str, tiny: Tiny, drawing_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU without bf16 the text encoders, the denoiser or the autoencoder run in fp32, the others in fp16."""
    family = FAMILIES[name]
    with on_gpu(OLD, drawing_home, monkeypatch) as engine:
        for mode in family.modes:
            check_run(engine, family, mode, tiny)


def check_run(engine: Engine, family: Family, mode: str, tiny: Tiny) -> None:
    """Generate two steps with a preview, and compare what ran with the record."""
    path, expected = str(tiny(family.name)), engine._precisions(family)
    request = GenerationRequest.parse(prompt="red", seed=1, steps=2, checkpoint=path, **INPUTS[mode])
    (made,) = engine.generate(request)
    machine = made.record.machine
    loaded = loaded_checkpoint(engine, path)
    ran = {
        name: machine.other_precisions.get(name, machine.precision)
        for name in (family.denoiser, "vae", *family.text_encoders)
    }
    assert ran == {
        family.denoiser: expected.denoiser,
        "vae": expected.vae,
        **dict.fromkeys(family.text_encoders, expected.text_encoders),
    }
    for name, component in loaded.networks.items():
        assert (
            component.dtype
            == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[ran[name]]
        )


def test_a_picture_in_one_precision_has_the_record_that_it_always_had(draw: Any) -> None:
    (made,) = draw("sd1")
    assert set(made.record.to_dict()["machine"]) == {"device", "precision", "backend", "threads"}


# NaN


@contextmanager
def poisoned(network: torch.nn.Module, value: float = float("nan")) -> Iterator[None]:
    """The network's first floating result is not finite meanwhile."""

    def spoil(_: Any, __: Any, result: Any) -> Any:
        first = result[0]
        first.fill_(value)
        return result

    handle = network.register_forward_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def half(drawing_home: Path) -> Engine:
    return Engine(Settings(home=drawing_home, device="cpu", generation_precision="fp16"))


@pytest.mark.parametrize(
    ("name", "part", "mode", "message", "hint"),
    [
        (
            "sd1",
            "unet",
            TEXT,
            "The unet of Stable Diffusion 1 returned NaN or infinity in fp16",
            "generation",
        ),
        ("sd1", "vae.decoder", TEXT, "The vae of Stable Diffusion 1 returned NaN or infinity in fp16", "vae"),
        ("sd1", "vae.encoder", IMAGE, "The vae of Stable Diffusion 1 returned", "vae"),
        ("sd1", "text_encoder", TEXT, "The text_encoder of Stable Diffusion 1", "text_encoder"),
        ("flux", "text_encoder_2", TEXT, "The text_encoder or text_encoder_2 of Flux", "text_encoder"),
        ("flux", "vae.decoder", TEXT, "The vae of Flux returned NaN or infinity in bf16", "vae"),
    ],
)
def test_a_picture_that_is_not_finite_names_the_component(
    name: str, part: str, mode: str, message: str, hint: str, half: Engine, tiny: Tiny
) -> None:
    path = str(tiny(name))
    component, _, inner = part.partition(".")
    network = loaded_checkpoint(half, path).components[component]
    network = getattr(network, inner) if inner else network
    request = GenerationRequest.parse(
        prompt=f"{part} {mode}", seed=1, steps=2, checkpoint=path, **INPUTS[mode]
    )
    with poisoned(network), pytest.raises(NonFiniteError, match=message) as caught:
        list(half.generate(request))
    assert caught.value.hint.startswith(f"Set {hint}_precision to ")
    assert "fp32" in caught.value.hint


def test_infinite_pixels_are_no_picture(half: Engine, tiny: Tiny) -> None:
    """Pipelines clamp pixels, which would turn infinity into white."""
    path = str(tiny("sd1"))
    decoder: Any = loaded_checkpoint(half, path).components["vae"].decoder
    request = GenerationRequest.parse(prompt="", seed=1, steps=1, checkpoint=path, **INPUTS[TEXT])
    with poisoned(decoder, float("inf")), pytest.raises(NonFiniteError, match="The vae of"):
        list(half.generate(request))


def test_what_to_set_depends_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaDevice, "halves", OLD)
    assert (
        other_precision("unet", "fp16", FAMILIES["sd1"], CPU) == "Set generation_precision to bf16 or fp32."
    )
    assert other_precision("unet", "fp16", FAMILIES["sd1"], CUDA) == "Set generation_precision to fp32."
    assert "check the checkpoint's file" in other_precision("unet", "fp32", FAMILIES["sd1"], CUDA)


def test_an_autoencoder_computes_in_its_own_precision_on_a_gpu() -> None:
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        vae: AutoencoderKL = components.autoencoder()
        seen: list[torch.dtype] = []
        component = Component(ComponentKey("", "fp32"), vae, 0)
        proxy = AutoencoderProxy(
            component, torch.float16, lambda _: None, lambda value: seen.append(value.dtype)
        )
        pixels = torch.zeros(1, 3, 64, 64, dtype=torch.float16)
        latents = proxy.encode(pixels).latent_dist.mode()
        decoded = proxy.decode(latents, return_dict=False)[0]
        assert (latents.dtype, latents.device.type) == (torch.float16, "cuda")
        assert (decoded.dtype, decoded.device.type, tuple(decoded.shape)) == (
            torch.float32,
            "cuda",
            (1, 3, 64, 64),
        )
        assert seen == [torch.float32, torch.float32]
        assert proxy.dtype == torch.float16
