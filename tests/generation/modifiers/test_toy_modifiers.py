"""Modifiers of a plug-in, each one object and no edit elsewhere: a LoRA, a ControlNet, a step cache, an IP-Adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from safetensors.torch import load_file, save_file
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import (
    generate_with_diffusers,
    load_diffusers_pipeline,
    nearly_equal,
)
from tests.tiny.generation import INIT_IMAGE
from torch import Tensor

from safelight.errors import MemoryBudgetError, PluginInvalidError
from safelight.generation.artifact import Artifact
from safelight.generation.conditioning import EncoderCall
from safelight.generation.engine import Engine, decoding_bytes
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Encode, Modifier, Phases, Predict
from safelight.generation.modifiers.registry import (
    MODIFIERS,
    Layer,
    ModifierFactory,
    NetworkContext,
    PassContext,
    no_networks,
)
from safelight.generation.progress import Watcher
from safelight.generation.prompts.encode import Conditioning
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.settings import Settings

Tiny = Callable[[str], Path]
SIZE = {"width": 64, "height": 64}
Build = Callable[[PassContext], Modifier | None]
FindNetworks = Callable[[NetworkContext], Mapping[str, ComponentSource]]


@dataclass
class Plugin:
    """A plug-in with one modifier."""

    factory: ModifierFactory

    @hookimpl
    def register_modifiers(self, registry: Registry[ModifierFactory]) -> None:
        registry.register("toy", self.factory)


@contextmanager
def plugged_in(
    build: Build, layer: Layer = Layer.NETWORK, networks: FindNetworks = no_networks
) -> Iterator[None]:
    with PLUGINS.registered(Plugin(ModifierFactory(layer, build, networks)), "toy"):
        yield


# A LoRA


@dataclass(frozen=True)
class LowRank:
    """A patch: one layer's weight plus a scaled product of two thin matrices."""

    layer: str
    weight: float

    @property
    def identity(self) -> str:
        return f"low-rank:{self.layer}:{self.weight}"

    def delta(self, shape: torch.Size) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        up, down = (torch.randn(side, 2, generator=generator) for side in shape)
        return self.weight * (up @ down.T)

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        parameter = network.get_submodule(self.layer).weight
        original = parameter.data
        parameter.data = original + self.delta(original.shape)
        try:
            yield
        finally:
            parameter.data = original


class LoRA(Modifier):
    """Patches a component."""

    def __init__(self, component: str, patch: LowRank) -> None:
        self.patches = {component: (patch,)}
        self.notes = (f"With {patch.identity}.",)


ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
TEXT_LAYERS = ("text_model.encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.q_proj")


def by_seed(weights: Mapping[int, float]) -> Build:
    """A LoRA for the U-Net whose weight depends on the picture's seed."""

    def build(context: PassContext) -> LoRA | None:
        weight = weights.get(context.plan.seed)
        return None if weight is None else LoRA("unet", LowRank(ATTENTION, weight))

    return build


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the starter whose U-Net is stored in single precision."""
    folder = tmp_path_factory.mktemp("starter") / "copy"
    shutil.copytree(STARTER_PATH, folder)
    save_unet(folder, load_unet(STARTER_PATH))
    return folder


def load_unet(folder: Path) -> dict[str, Tensor]:
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return {name: tensor.float() for name, tensor in weights.items()}


def save_unet(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})


Generate = Callable[..., np.ndarray]


@pytest.fixture
def generate(engine: Engine) -> Generate:
    def run(checkpoint: Path | str, watcher: Watcher | None = None, **fields: Any) -> np.ndarray:
        usual = {"prompt": "a red apple", "steps": 4, "seed": 7, "sampler": "Euler", "guidance_scale": 4}
        request = GenerationRequest.parse(**usual | SIZE | {"checkpoint": str(checkpoint)} | fields)
        (artifact,) = engine.generate(request, watcher)
        return to_array(artifact)

    return run


def test_a_patch_equals_merged_weights(starter: Path, generate: Generate, tmp_path: Path) -> None:
    patch = LowRank(ATTENTION, 0.05)
    weights = load_unet(starter)
    weights[f"{ATTENTION}.weight"] += patch.delta(weights[f"{ATTENTION}.weight"].shape)
    merged = tmp_path / "merged"
    shutil.copytree(starter, merged)
    save_unet(merged, weights)
    plain, expected = generate(starter), generate(merged)
    with plugged_in(by_seed({7: 0.05})):
        patched = generate(starter)
    assert np.array_equal(patched, expected)
    assert not np.array_equal(patched, plain)
    assert np.array_equal(generate(starter), plain)  # the network is as before


def test_weight_zero_equals_none_and_the_record_notes_the_patch(draw: GenerateImages) -> None:
    (plain,) = draw()
    with plugged_in(by_seed({7: 0.0})):
        (patched,) = draw()
    assert np.array_equal(to_array(patched), to_array(plain))
    assert patched.record.notes == (f"With low-rank:{ATTENTION}:0.0.",)
    assert plain.record.notes == ()


def test_threads_with_different_patches_do_not_affect_each_other(
    draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    unet: Any = in_memory("sd1").components["unet"]
    weight = unet.get_submodule(ATTENTION).weight
    before, seeds = weight.data.clone(), (1, 2, 3)
    with plugged_in(by_seed({1: 0.5, 2: -0.5})):
        alone = [to_array(*draw(seed=seed, steps=8)) for seed in seeds]
        barrier = Barrier(len(seeds))

        def in_step(seed: int) -> Artifact:
            (artifact,) = draw(seed=seed, steps=8, watcher=Watcher(lambda _: barrier.wait(30) and None))
            return artifact

        with ThreadPoolExecutor(len(seeds)) as pool:
            together = list(pool.map(in_step, seeds))
    assert all(np.array_equal(to_array(one), other) for one, other in zip(together, alone, strict=True))
    assert not any(artifact.record.batched for artifact in together)
    assert not np.array_equal(alone[0], to_array(*draw(seed=1, steps=8)))
    assert torch.equal(weight.data, before)


def text_layer(network: Any) -> str:
    """The name of a projection, which depends on the version of transformers."""
    names = {name for name, _ in network.named_modules()}
    return next(name for name in TEXT_LAYERS if name in names)


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3"])
def test_patched_text_encoders_do_not_share_cached_embeddings(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    """Also where the pipeline encodes the text itself, as Stable Diffusion 3's does."""
    layer = text_layer(in_memory(name).components["text_encoder"])

    def with_weight(weight: float) -> np.ndarray:
        with plugged_in(lambda _: LoRA("text_encoder", LowRank(layer, weight))):
            return to_array(*draw(name))

    plain = to_array(*draw(name))
    first, second, zero = with_weight(1.0), with_weight(-1.0), with_weight(0.0)
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, second)
    assert np.array_equal(zero, plain)
    assert np.array_equal(with_weight(1.0), first)
    assert np.array_equal(to_array(*draw(name)), plain)


def test_a_patch_of_an_unknown_component_is_an_error(draw: GenerateImages) -> None:
    with (
        plugged_in(lambda _: LoRA("transformer", LowRank(ATTENTION, 1.0))),
        pytest.raises(PluginInvalidError, match="'toy' patches 'transformer'"),
    ):
        draw("sd1")


def test_a_patch_of_a_text_encoder_that_a_checkpoint_was_saved_without_is_an_error(
    tiny: Tiny, tmp_path: Path, generate: Generate
) -> None:
    """A modifier can ask ``loaded.networks``; to ignore its patch would be to ignore a part of the request."""
    folder = Path(shutil.copytree(tiny("sd3"), tmp_path / "sd3"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))

    def build(context: PassContext) -> LoRA:
        assert "text_encoder_3" not in context.loaded.networks
        return LoRA("text_encoder_3", LowRank("encoder", 1.0))

    with (
        plugged_in(build),
        pytest.raises(PluginInvalidError, match=r"'text_encoder_3'; this checkpoint .* has text_encoder, "),
    ):
        generate(folder)


# A ControlNet


@dataclass
class ControlNet(Modifier):
    """Adds the residuals of another network to the rows that are computed."""

    network: ControlNetModel
    image: Tensor

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        latents = call.latents
        image = torch.nn.functional.interpolate(self.image, [8 * side for side in latents.shape[2:]])
        down, mid = self.network(
            latents,
            call.timestep,
            encoder_hidden_states=call.arguments["encoder_hidden_states"],
            controlnet_cond=image.expand(len(latents), -1, -1, -1),
            return_dict=False,
        )
        return compute(
            call.add(down_block_additional_residuals=tuple(down), mid_block_additional_residual=mid)
        )


@pytest.fixture(scope="module")
def controlnet(in_memory: Callable[[str], LoadedCheckpoint]) -> ControlNet:
    unet: Any = in_memory("sd1").components["unet"]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16)).eval()
        for parameter in network.parameters():
            if not parameter.any():  # its last layers, which training starts from zero
                torch.nn.init.normal_(parameter, std=0.2)
    pixels = torch.from_numpy(np.asarray(INIT_IMAGE).copy()).movedim(-1, 0).float()[None] / 255
    return ControlNet(network.requires_grad_(False), pixels)


def test_a_controlnet_equals_diffusers(draw: GenerateImages, tiny: Tiny, controlnet: ControlNet) -> None:
    pipe = load_diffusers_pipeline(tiny("sd1"), "StableDiffusionPipeline")
    reference = StableDiffusionControlNetPipeline(
        **pipe.components, controlnet=controlnet.network, requires_safety_checker=False
    )
    reference.set_progress_bar_config(disable=True)
    result = reference(
        "a red cat",
        image=controlnet.image,
        num_inference_steps=3,
        guidance_scale=7.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
        **SIZE,
    ).images[0]
    with plugged_in(lambda _: controlnet, Layer.CONTROL):
        (drawn,) = draw(guidance_scale=7)
    assert nearly_equal(to_array(drawn), (result * 255).round().astype(np.uint8))
    assert not np.array_equal(to_array(drawn), to_array(*draw(guidance_scale=7)))


def test_a_modifiers_network_is_leased_with_the_checkpoint(
    draw: GenerateImages,
    tiny: Tiny,
    controlnet: ControlNet,
    tmp_path: Path,
    in_memory: Callable[[str], LoadedCheckpoint],
) -> None:
    """It is loaded once, counts in the budget, and is evicted like all others; too small a budget is an error."""
    loaded = in_memory("sd1")
    budget = loaded.nbytes + 4 * decoding_bytes(loaded, **SIZE) + 10**8
    loads: list[NetworkContext] = []
    key = ComponentKey("c" * 64, "fp32")

    def networks(context: NetworkContext) -> dict[str, ComponentSource]:
        def load() -> Component:
            loads.append(context)
            return Component(key, controlnet.network, 10**8)

        return {"control": ComponentSource(key, 10**8, load)}

    def build(context: PassContext) -> ControlNet:
        return replace(controlnet, network=context.networks["control"].network)

    request = GenerationRequest.parse(
        prompt="a red cat", seed=7, steps=3, checkpoint=str(tiny("sd1")), count=2, **SIZE
    )
    engine = Engine(Settings(home=tmp_path, device="cpu", memory_budget=budget))
    with plugged_in(build, Layer.CONTROL, networks):
        pictures = [to_array(artifact) for artifact in engine.generate(request)]
        assert [(each.device.type, each.dtype, each.precision) for each in loads] == [
            ("cpu", torch.float32, "fp32")
        ]
        assert key in engine._pool.keys
        engine.unload()
        assert not engine._pool.keys
        with pytest.raises(MemoryBudgetError, match="needs at least"):  # before the first picture
            Engine(Settings(home=tmp_path, device="cpu", memory_budget=10**8, memory_steps=())).start(request)
    with plugged_in(lambda _: controlnet, Layer.CONTROL):
        assert np.array_equal(pictures[0], to_array(*draw()))


@pytest.mark.parametrize(
    "fields",
    [
        {"pag_scale": 3},
        {"guidance_start": 0.3, "guidance_rescale": 0.5},
        {"prompt": "a [cat:dog:0.5]"},
        {"hires": {"scale": 1.5, "strength": 0.7}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_controlnet_works_with_every_other_modifier(
    fields: dict[str, Any], draw: GenerateImages, controlnet: ControlNet
) -> None:
    plain = to_array(*draw(**fields))
    with plugged_in(lambda _: controlnet, Layer.CONTROL):
        controlled, again = (to_array(*draw(**fields)) for _ in range(2))
    assert not np.array_equal(controlled, plain)
    assert np.array_equal(controlled, again)


# A step cache


class StepCache(Modifier):
    """Computes every second step only, and repeats its prediction in the next."""

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        if call.step % 2 == 0 or self.last is None:
            self.last = compute(call)
        return self.last


@pytest.mark.parametrize("name", ["sd1", "sd3", "z-image"])
def test_a_step_cache_skips_every_second_call(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    loaded = in_memory(name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    plain = to_array(*draw(name, steps=5))
    calls: list[int] = []
    hook = denoiser.register_forward_hook(lambda *_: calls.append(1))
    with plugged_in(lambda _: StepCache()):
        cached = to_array(*draw(name, steps=5))
    hook.remove()
    assert len(calls) == 3
    assert not np.array_equal(cached, plain)


# An IP-Adapter


class ImagePrompt(Modifier):
    """Appends the embeddings of a picture to those of the prompt, and zeros to those of the negative prompt."""

    tokens = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        return [
            replace(
                phase,
                positive=self.appended(phase.positive, self.tokens),
                negative=self.appended(phase.negative, torch.zeros_like(self.tokens)),
            )
            for phase in encode(call)
        ]

    def appended(self, text: Conditioning, tokens: Tensor) -> Conditioning:
        return replace(text, embeddings=torch.cat([text.embeddings, tokens], dim=1))


class LateImagePrompt(ImagePrompt):
    """Does so for each call instead, from the second step on."""

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        return encode(call)

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        texts = call.arguments["encoder_hidden_states"]
        assert isinstance(texts, Tensor)
        if call.step == 0:
            return compute(call)
        rows = [self.tokens * (role is Role.POSITIVE) for role in call.roles]
        return compute(call.add(encoder_hidden_states=torch.cat([texts, torch.cat(rows)], dim=1)))


def test_an_image_prompt_equals_diffusers_with_its_embeddings(draw: GenerateImages, tiny: Tiny) -> None:
    pipe = load_diffusers_pipeline(tiny("sd1"), "StableDiffusionPipeline")
    with torch.no_grad():
        positive, negative = pipe.encode_prompt("a red cat", "cpu", 1, True, "")
    tokens = ImagePrompt.tokens
    expected = generate_with_diffusers(
        tiny("sd1"),
        "StableDiffusionPipeline",
        prompt=None,
        prompt_embeds=torch.cat([positive, tokens], dim=1),
        negative_prompt_embeds=torch.cat([negative, torch.zeros_like(tokens)], dim=1),
        guidance_scale=7.0,
        **SIZE,
    )
    with plugged_in(lambda _: ImagePrompt(), Layer.CONDITIONING):
        (drawn,) = draw(guidance_scale=7)
    assert nearly_equal(to_array(drawn), expected)
    assert not np.array_equal(to_array(drawn), to_array(*draw(guidance_scale=7)))


@pytest.mark.parametrize("kind", [ImagePrompt, LateImagePrompt])
def test_an_image_prompt_works_with_prompt_schedules_and_guidance(
    kind: type[Modifier], draw: GenerateImages
) -> None:
    for fields in ({"prompt": "a [cat:dog:1]"}, {"pag_scale": 2}, {"guidance_end": 0.6}):
        usual: dict[str, Any] = {"steps": 4, **fields}
        plain = to_array(*draw(**usual))
        with plugged_in(lambda _: kind(), Layer.CONDITIONING):
            prompted = to_array(*draw(**usual))
        assert not np.array_equal(prompted, plain)
    scheduled, fixed = {"prompt": "a [cat:dog:1]"}, {"prompt": "a cat"}
    with plugged_in(lambda _: kind(), Layer.CONDITIONING):
        pictures = [to_array(*draw(steps=4, **each)) for each in (scheduled, fixed)]
    assert not np.array_equal(*pictures)


# The registry


def test_modifiers_apply_by_layer_and_then_in_the_order_of_registration(draw: GenerateImages) -> None:
    assert list(MODIFIERS) == [
        "adapters",
        "embeddings",
        "prompt-schedule",
        "ip-adapter",
        "guidance-interval",
        "guidance-rescale",
        "cfg-zero",
        "perturbed-attention",
        "composition",
        "region-attention",
        "control",
        "seamless",
        "token-merging",
        "deep-feature-cache",
        "prediction-cache",
        "transformer-cache",
    ]
    seen: list[tuple[Layer, int]] = []

    class Witness(Modifier):
        def __init__(self, layer: Layer) -> None:
            self.layer = layer

        def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
            seen.append((self.layer, len(call.roles)))
            return compute(call)

    class Four:
        @hookimpl
        def register_modifiers(self, registry: Registry[ModifierFactory]) -> None:
            for layer in reversed(Layer):
                factory = ModifierFactory(layer, lambda _, layer=layer: Witness(layer))
                registry.register(layer.name, factory)

    with PLUGINS.registered(Four(), "four"):
        draw(steps=1, guidance_end=0)
    # Those outside the guidance interval see both rows.
    assert seen == [(Layer.CONDITIONING, 2), (Layer.GUIDANCE, 1), (Layer.CONTROL, 1), (Layer.NETWORK, 1)]
