"""Train a ControlNet for the starter: it follows edges by Canny's detector.

Its residual blocks are those of the U-Net's encoder without attention, and start from the U-Net's weights: where an
edge is says nothing about words. Things are turned, mirrored, scaled and moved, so that a caption does not say where
anything is, and the control has to. The frozen U-Net's error is what is trained on, mostly at high noise, where a
picture's structure is decided.

It trains for --minutes in all and resumes from its last checkpoint; each call writes the average of the last steps as a
folder of diffusers, in half precision.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from captions import STYLE_WORDS, caption, with_article
from denoiser import tokenize
from loops import Average, Log, load, save, set_rates, warmed_up
from muon import optimisers
from pictures import SIZE, WORK
from safelight.generation.control.preprocessors import PreprocessContext, find_preprocessor
from safelight.settings import Settings
from scenes import COLOURS, Pictures, PlacedThing, Scene
from ship import STARTER

SHIPPED = Path(__file__).parents[1] / "src/safelight/models/controlnet/starter-canny"
BATCH, HELD_OUT, SHAPES = 32, 100, 4000
WIDTHS = (8, 16, 32, 96)
"""Channels of the layers that read the edges; all but the first halve them."""
CHECKPOINT_SECONDS = 300


@dataclass(frozen=True)
class Shape:
    """A picture with what is to be drawn in it.

    Args:
        pixels: (128, 128, 3) uint8.
        scene: Its contents.
    """

    pixels: np.ndarray
    scene: Scene

    def plain_caption(self, pictures: Pictures) -> str:
        """Its caption in the wording that the docs recommend."""
        row, background = self.scene.things[0].row, self.scene.background
        style = STYLE_WORDS[pictures.rows[row].style][0]
        text = f"{with_article(pictures.thing_of(row).name)}, {style}"
        return text if background == "white" else f"{text}, on {with_article(background)} background"


class Canny:
    """Canny's detector with the usual thresholds."""

    def __init__(self) -> None:
        self.preprocessor, self.context = find_preprocessor("canny"), PreprocessContext(Settings())

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The edges of a picture, (h, w, 3) uint8 to (h, w) bool."""
        found = self.preprocessor.run(Image.fromarray(pixels), {}, context=self.context)
        return np.asarray(found)[..., 0] > 0


def split_rows(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on, and those that are left out."""
    order = np.random.default_rng(21).permutation(len(pictures.rows))
    return order[HELD_OUT:], order[:HELD_OUT]


def draw_shape(pictures: Pictures, row: int, random: np.random.Generator) -> Shape:
    """Draw a thing turned, mirrored, scaled and moved, half of the time on a coloured background."""
    thing = Image.fromarray(pictures.pixels[row])
    if random.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(random.uniform(-30, 30), Image.Resampling.BICUBIC)
    side = round(SIZE * random.uniform(0.55, 0.95))
    thing = thing.resize((side, side), Image.Resampling.LANCZOS)
    background = str(random.choice(list(COLOURS))) if random.random() < 0.5 else "white"
    canvas = Image.new("RGB", (SIZE, SIZE), COLOURS[background])
    across, down = (int(place) for place in random.integers(0, SIZE - side + 1, 2))
    canvas.paste(thing, (across, down), thing)
    return Shape(np.asarray(canvas), Scene((PlacedThing(row),), background))


def build_control(unet: UNet2DConditionModel) -> ControlNetModel:
    """Build the ControlNet, with the weights that the U-Net has for its layers."""
    widths = unet.config.block_out_channels
    torch.manual_seed(0)
    net = ControlNetModel(
        down_block_types=("DownBlock2D",) * len(widths),
        mid_block_type="UNetMidBlock2D",
        block_out_channels=widths,
        layers_per_block=unet.config.layers_per_block,
        cross_attention_dim=unet.config.cross_attention_dim,
        conditioning_embedding_out_channels=WIDTHS,
    )
    own = net.state_dict()
    net.load_state_dict(own | {name: value for name, value in unet.state_dict().items() if name in own})
    # Usually the last layer that reads the picture starts from zero like those that add to the U-Net: then nothing
    # is learnt until these have grown. Edges are sparse, so the first one is wider.
    for name, module in net.controlnet_cond_embedding.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
            if name == "conv_in":
                module.weight.data *= 3
    return net.to(memory_format=torch.channels_last)


def to_condition(edges: np.ndarray) -> Tensor:
    """Edges, (n, h, w) bool, as the ControlNet takes them: (n, 3, h, w) in [0, 1]."""
    white = torch.from_numpy(edges).float()[:, None]
    return white.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def encoded_shapes(pipeline: StableDiffusionPipeline, pictures: Pictures, work: Path) -> dict[str, Tensor]:
    """Latents, edges (as packed bits) and embedded captions of all training shapes, computed once."""
    cache = work / "shapes.pt"
    if not cache.exists():
        rows, _ = split_rows(pictures)
        random, canny = np.random.default_rng(22), Canny()
        latents, edges, texts = [], [], []
        for _ in range(0, SHAPES, 50):
            shapes = [draw_shape(pictures, int(row), random) for row in random.choice(rows, 50)]
            pixels = torch.from_numpy(np.stack([shape.pixels for shape in shapes])).permute(0, 3, 1, 2)
            latents.append(pipeline.vae.encode(pixels / 127.5 - 1).latent_dist.mode().half())
            edges.append(np.packbits(np.stack([canny(shape.pixels) for shape in shapes]), axis=-1))
            captions = [caption(pictures, shape.scene, random) for shape in shapes]
            tokens = tokenize(pipeline.tokenizer, captions)
            texts.append(pipeline.text_encoder(tokens).last_hidden_state.half())
        save(
            cache,
            latents=torch.cat(latents) * pipeline.vae.config.scaling_factor,
            edges=torch.from_numpy(np.concatenate(edges)),
            texts=torch.cat(texts),
        )
    return load(cache)


def control_optimisers(net: ControlNetModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon and Adam, with higher rates for the layers that start from zero."""
    added = nn.ModuleList([*net.controlnet_down_blocks, net.controlnet_mid_block]).requires_grad_(False)
    rest = optimisers(net, rate, rate / 4)
    return [*rest, *optimisers(added.requires_grad_(True), 4 * rate, rate)]


def sample_timesteps(count: int, random: torch.Generator) -> Tensor:
    """Sample (count,) timesteps: a quarter of them uniform, the others in proportion to the timestep."""
    share = torch.rand(count, generator=random)
    share[count // 4 :] = share[count // 4 :].sqrt()
    return (share * 1000).long().clamp(0, 999)


def train(minutes: float, rate: float, work: Path = WORK) -> None:
    """Train until it has been trained for some minutes, resuming from the last checkpoint if there is one."""
    pipeline = StableDiffusionPipeline.from_pretrained(STARTER, torch_dtype=torch.float32)
    unet, schedule = pipeline.unet.to(memory_format=torch.channels_last), pipeline.scheduler
    unet.requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())  # flash attention has a slow backward pass on a CPU
    data = encoded_shapes(pipeline, Pictures.load(work), work)
    net = build_control(unet)
    trained, average, step, before = control_optimisers(net, rate), Average(net, 0.98), 0, 0.0
    path = work / "control.pt"
    if last := load(path):
        net.load_state_dict(last["net"])
        for optimiser, state in zip(trained, last["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        average.values, step, before = last["average"], last["step"], last["seconds"]
    log, started, saved = Log(10), time.monotonic(), time.monotonic()
    while (seconds := before + time.monotonic() - started) < 60 * minutes:
        # constant, and falling in the last third of the time
        set_rates(trained, warmed_up(step, 20) * min(1.0, 3 * (1 - seconds / (60 * minutes))))
        random = torch.Generator().manual_seed(step)
        rows = torch.randint(SHAPES, (BATCH,), generator=random)
        clean = data["latents"][rows].float().contiguous(memory_format=torch.channels_last)
        noise, timesteps = torch.randn(clean.shape, generator=random), sample_timesteps(BATCH, random)
        noisy = schedule.add_noise(clean, noise, timesteps)
        edges = np.unpackbits(data["edges"][rows].numpy(), axis=-1).astype(bool)
        texts = data["texts"][rows].float()
        down, middle = net(noisy, timesteps, texts, to_condition(edges), return_dict=False)
        output = unet(
            noisy,
            timesteps,
            texts,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        loss = (output - schedule.get_velocity(clean, noise, timesteps)).pow(2).mean()
        loss.backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        average.update(net, step)
        step += 1
        log.add(step, BATCH, loss=float(loss.detach()))
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(path, net, average, trained, step, before + time.monotonic() - started)
            saved = time.monotonic()
    _save(path, net, average, trained, step, before + time.monotonic() - started)


def _save(
    path: Path,
    net: ControlNetModel,
    average: Average,
    trained: list[torch.optim.Optimizer],
    step: int,
    seconds: float,
) -> None:
    states = [optimiser.state_dict() for optimiser in trained]
    save(path, net=net.state_dict(), average=average.values, optimisers=states, step=step, seconds=seconds)


def ship(folder: Path, work: Path = WORK) -> None:
    """Write the average of the last steps as diffusers lays out a ControlNet, in half precision."""
    net, last = (
        build_control(UNet2DConditionModel.from_pretrained(STARTER / "unet")),
        load(work / "control.pt"),
    )
    net.load_state_dict(last["average"])
    folder.mkdir(parents=True, exist_ok=True)
    net.save_config(folder)
    metadata = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/controlnet",
        "modelspec.title": "Canny edges for Safelight's starter",
        "modelspec.license": "Apache-2.0",
        "training": json.dumps({"script": "training/control.py", "samples": last["step"] * BATCH}),
    }
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file(tensors, path, metadata)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, help="Of the processor; all by default.")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    train(chosen.minutes, chosen.rate)
    ship(chosen.out)
