"""Train the text encoder and the U-Net together, on cached latents, for v-prediction under Stable Diffusion's schedule.

Runs until it is stopped or has done --steps, and writes a checkpoint every hundred steps, from which the next call
resumes. The moving average of the weights is what is shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import autoencoder
import tokenizer as words
from captions import caption
from loops import Average, Log, load, save, set_rates, warmed_up
from muon import optimisers
from pictures import WORK
from scenes import Pictures, PlacedThing, Scene, random_scene, render_scene

BATCH, NOISES = 64, 2
"""Captions per step, and noise samples per caption, whose text is encoded once."""
PLAIN_SHARE = 0.7
"""Share of the samples that show one thing on a white background, as most prompts do."""
WIDTH = 256


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    """Build CLIP's text transformer with three layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=words.LENGTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """Build the U-Net: cheap at 16 x 16, most parameters at 4 x 4, where each affects the whole picture."""
    net = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 320),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 2, 5),  # despite the name, the number of heads: few and wide is fast on a CPU
        cross_attention_dim=WIDTH,
    )
    return net.to(memory_format=torch.channels_last)


def build_schedule() -> DDPMScheduler:
    """Stable Diffusion's noise schedule, for v-prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
    )


class Denoiser(nn.Module):
    """Text encoder and U-Net as one module, for training."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text, self.unet = build_text_encoder(vocabulary), build_unet()

    def forward(self, latents: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity for (n, 4, 16, 16) latents; one row of tokens can serve several latents."""
        context = self.text(tokens).last_hidden_state
        context = context.repeat_interleave(len(latents) // len(tokens), 0)
        return self.unet(latents, timesteps, context, return_dict=False)[0]


class LatentPool:
    """Latents of all pictures on a white background and of varied scenes, with their contents."""

    def __init__(self, pictures: Pictures, rounds: int, work: Path) -> None:
        self.pictures = pictures
        random = np.random.default_rng(1)
        rows = range(len(pictures.rows))
        self.plain = [Scene((PlacedThing(row),)) for row in rows]
        self.varied = [random_scene(pictures, row, random) for _ in range(rounds) for row in rows]
        self.scenes = [*self.plain, *self.varied]
        cache = work / f"latents-{rounds}.pt"
        if not cache.exists():
            torch.save(self._encode(work, random), cache)
        self.latents = torch.load(cache, weights_only=True).float()

    @torch.no_grad()
    def _encode(self, work: Path, random: np.random.Generator) -> Tensor:
        net = autoencoder.build()
        net.load_state_dict(load(work / "autoencoder-both.pt")["net"])
        latents = []
        for start in range(0, len(self.scenes), 64):
            pixels = np.stack(
                [render_scene(self.pictures, scene, random) for scene in self.scenes[start : start + 64]]
            )
            signed = autoencoder.to_signed(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            latents.append(net.encode(signed).latent_dist.mode().half())
        return torch.cat(latents)

    def sample(self, count: int, random: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Sample latents, with a new random caption for each."""
        plain = random.random(count) < PLAIN_SHARE
        picks = np.where(
            plain,
            random.integers(len(self.plain), size=count),
            len(self.plain) + random.integers(len(self.varied), size=count),
        )
        return self.latents[picks], [caption(self.pictures, self.scenes[pick], random) for pick in picks]


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Tokenize captions to (n, 48) token numbers, padded as in Stable Diffusion's pipelines."""
    length = tokenizer.model_max_length
    return tokenizer(
        captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids


def rate_at(step: int, steps: int, ending: int) -> float:
    """The share of the full rate: rising in the first hundred steps, then constant, falling in the last `ending`."""
    return warmed_up(step) * min(1.0, (steps - step) / ending)


def with_plain_attention(net: Denoiser) -> Denoiser:
    """Use attention by plain matrix products: flash attention on a CPU has a slow backward pass for so few tokens."""
    net.unet.set_attn_processor(AttnProcessor())
    net.text.set_attn_implementation("eager")
    return net


def sample_timesteps(count: int) -> Tensor:
    """Sample (count,) timesteps, half of them uniform, half around the middle, where a picture's content is decided.

    The second half follows Beta(2, 2), by its inverse distribution function; Esser et al. (2024, section 3.1) trained
    rectified flow transformers fastest with more weight on the middle.
    """
    share = torch.rand(count)
    share[1::2] = 0.5 - torch.sin(torch.asin(1 - 2 * share[1::2]) / 3)
    return (share * 1000).long().clamp(0, 999)


def train(
    steps: int,
    ending: int,
    rate: float,
    *,
    device: str = "cpu",
    bf16: bool = False,
    compiled: bool = False,
    work: Path = WORK,
) -> None:
    """Train, resuming from the last checkpoint if there is one; optionally in bfloat16 and compiled."""
    pictures = Pictures.load(work)
    pool, tokenizer, schedule = LatentPool(pictures, 4, work), words.build(pictures.things), build_schedule()
    torch.manual_seed(0)
    net = with_plain_attention(Denoiser(len(tokenizer)).to(device))
    predict = torch.compile(net) if compiled else net
    trained, average, start = optimisers(net, rate, rate / 4), Average(net, 0.995), 0
    path = work / "denoiser.pt"
    if last := load(path):
        net.load_state_dict(last["net"])
        average.values = last["average"]
        start = last["step"]
        for optimiser, state in zip(trained, last.get("optimisers", []), strict=False):
            optimiser.load_state_dict(state)
    random = np.random.default_rng(start)
    torch.manual_seed(start)
    log = Log(20)
    for step in range(start, steps):
        set_rates(trained, rate_at(step, steps, ending))
        clean, captions = pool.sample(BATCH, random)
        clean = clean.repeat_interleave(NOISES, 0).contiguous(memory_format=torch.channels_last).to(device)
        noise, timesteps = torch.randn_like(clean), sample_timesteps(len(clean)).to(device)
        target = schedule.get_velocity(clean, noise, timesteps)
        noisy = schedule.add_noise(clean, noise, timesteps)
        tokens = tokenize(tokenizer, captions).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            output = predict(noisy, timesteps, tokens)
        loss = (output.float() - target).pow(2).mean()
        loss.backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        average.update(net, step)
        log.add(step + 1, len(clean), loss=float(loss.detach()))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            states = [optimiser.state_dict() for optimiser in trained]
            save(path, net=net.state_dict(), average=average.values, optimisers=states, step=step + 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--ending", type=int, default=1000, help="Last steps, in which the rate goes down.")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="Faster where the processor has units for it.")
    parser.add_argument(
        "--compiled", action="store_true", help="Faster after some minutes; needs a C++ compiler."
    )
    chosen = parser.parse_args()
    train(
        chosen.steps,
        chosen.ending,
        chosen.rate,
        device=chosen.device,
        bf16=chosen.bf16,
        compiled=chosen.compiled,
    )
