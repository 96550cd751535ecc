"""Distil a LoRA with which the starter draws in four to six steps without guidance: one call of the network each.

A student learns to jump along the teacher's own trajectories. The teacher draws captions from noise in fifteen guided
steps; its latents after each of them are kept. From any of these the student must reach, in one step, a later one about
a fifth of the way ahead, or the end. Where a jump starts and ends determines the velocity that it takes, so this is
plain regression: nothing is bootstrapped, no second network is averaged, no picture is needed. It is what trajectory
consistency distillation (Zheng et al., 2024) ends at, with the jumps limited to the length that is used, as in phased
consistency models (Wang et al., 2024); the samplers TCD (eta 0) and LCM draw with it.

Rounds of new trajectories and of training on all so far alternate, until it is stopped or has done --rounds; each
round writes a checkpoint, from which the next call resumes. At the end the average of the last steps is written as a
LoRA of a lower rank: the part of each layer's change that a singular value decomposition finds to be the largest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from captions import caption
from denoiser import PLAIN_SHARE, tokenize
from loops import Average, Log, load, save, set_rates, warmed_up
from pictures import WORK
from safelight.generation.training.lora_layers import (
    ATTENTION,
    CONVOLUTIONS,
    FEED_FORWARD,
    LoraLayer,
    applied,
    find_layers,
)
from safelight.generation.training.trained_file import lora_tensors, write_trained_file
from safelight.models.digests import file_digest
from scenes import Pictures, PlacedThing, Scene, random_scene
from ship import STARTER

SHIPPED = Path(__file__).parents[1] / "src/safelight/models/loras/starter-few-steps.safetensors"

GUIDANCE = 4.0
"""The starter's own guidance scale."""
NODES = (0, 4, 8, 12, 16, 20, 25, 29, 33, 37, 41, 44, 46, 48, 49)
"""The teacher's steps, as numbers on the grid of fifty that the samplers LCM and TCD choose theirs from."""
JUMPS = (8, 13)
"""The length of the student's jumps on that grid: a sixth to a quarter of the way."""
RANK, SHIPPED_RANK = 32, 16
TRAJECTORIES, STEPS, BATCH = 32, 12, 64
"""New trajectories and steps of training in a round; jumps in a step."""
NEW_SHARE = 0.5
"""Share of the jumps that are on the round's own trajectories."""


class Schedule:
    """Signal and noise at the nodes, and at the end, where there is no noise.

    Args:
        alphas_cumprod: The checkpoint's, (1000,).
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.timesteps = torch.tensor([999 - 20 * node for node in NODES])
        signal = torch.cat([alphas_cumprod[self.timesteps], torch.ones(1)]).double()
        self.signal, self.noise = signal.sqrt(), (1 - signal).sqrt()
        self.angle = torch.atan2(self.noise, self.signal)

    def velocity(self, start: Tensor, end: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """The velocity that leads from latents at one node to given ones at a later node, in one step."""
        turn = (self.angle[first] - self.angle[last])[:, None, None, None]
        return ((torch.cos(turn) * start - end) / torch.sin(turn)).float()


class Teacher:
    """The starter with guidance, solved by DPM-Solver++ of second order."""

    def __init__(self, pipeline: StableDiffusionPipeline, schedule: Schedule) -> None:
        self.unet, self.schedule = pipeline.unet, schedule

    @torch.no_grad()
    def draw(self, context: Tensor, empty: Tensor, random: torch.Generator) -> Tensor:
        """Draw the captions; returns the latents at all nodes and the end, (n, nodes + 1, 4, 16, 16)."""
        signal, noise = self.schedule.signal, self.schedule.noise
        both = torch.cat([empty.expand_as(context), context])
        latents = torch.randn(len(context), 4, 16, 16, generator=random)
        reached, before = [latents], None
        for node, timestep in enumerate(self.schedule.timesteps):
            rows = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
            plain, shown = self.unet(rows, timestep, both, return_dict=False)[0].chunk(2)
            guided = plain + GUIDANCE * (shown - plain)
            clean = (signal[node] * latents - noise[node] * guided).float()
            latents = self._step(node, latents, clean, before)
            before = clean
            reached.append(latents)
        return torch.stack(reached, 1)

    def _step(self, node: int, latents: Tensor, clean: Tensor, before: Tensor | None) -> Tensor:
        if node + 1 == len(NODES):
            return clean
        signal, noise = self.schedule.signal, self.schedule.noise
        half_log = torch.log(signal / noise)
        length = half_log[node + 1] - half_log[node]
        if before is not None:
            ratio = (half_log[node] - half_log[node - 1]) / length
            clean = clean + (clean - before) / (2 * ratio)
        step = noise[node + 1] / noise[node] * latents - signal[node + 1] * torch.expm1(-length) * clean
        return step.float()


class Captions:
    """Random captions of the scenes that the starter was trained on."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def sample(self, count: int, random: np.random.Generator) -> list[str]:
        """Captions; a tenth is empty."""
        scenes = []
        for row in random.integers(len(self.pictures.rows), size=count):
            plain = Scene((PlacedThing(int(row)),))
            scenes.append(
                plain if random.random() < PLAIN_SHARE else random_scene(self.pictures, int(row), random)
            )
        return [caption(self.pictures, scene, random) for scene in scenes]


class Jumps:
    """All trajectories so far, with the captions' embeddings."""

    def __init__(self, schedule: Schedule, folder: Path) -> None:
        self.schedule, self.folder = schedule, folder
        folder.mkdir(exist_ok=True, parents=True)
        stored = [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]
        self.latents = [each["latents"] for each in stored]
        self.tokens = [each["tokens"] for each in stored]

    def add(self, latents: Tensor, tokens: Tensor) -> None:
        """Keep a round's trajectories."""
        path = self.folder / f"{len(self.latents):05}.pt"
        save(path, latents=latents.half(), tokens=tokens)
        self.latents.append(latents.half())
        self.tokens.append(tokens)

    def sample(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random jumps: latents (n, 4, 16, 16), timesteps (n,), tokens (n, 48), and the velocities they take."""
        nodes = np.array([*NODES, 50])
        rounds = random.integers(len(self.latents), size=count)
        rounds[random.random(count) < NEW_SHARE] = len(self.latents) - 1
        rows = random.integers(TRAJECTORIES, size=count)
        first = random.integers(len(NODES), size=count)
        ahead = nodes[first] + random.uniform(*JUMPS, size=count)
        last = np.maximum(np.abs(nodes[None] - ahead[:, None]).argmin(1), first + 1)
        last[ahead >= 48] = len(NODES)
        paths = torch.stack(
            [self.latents[number][row] for number, row in zip(rounds, rows, strict=True)]
        ).float()
        each = torch.arange(count)
        start, end = paths[each, first], paths[each, last]
        tokens = torch.stack([self.tokens[number][row] for number, row in zip(rounds, rows, strict=True)])
        velocities = self.schedule.velocity(start, end, torch.tensor(first), torch.tensor(last))
        return start, self.schedule.timesteps[first], tokens, velocities


def build_layers(unet: UNet2DConditionModel, rank: int = RANK) -> nn.ModuleDict:
    """LoRA layers beside all layers of the U-Net's blocks; their names have no dots."""
    found = find_layers(unet, (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS))
    random = torch.Generator().manual_seed(0)
    return nn.ModuleDict(
        {name.replace(".", "/"): LoraLayer(layer, rank, rank, random) for name, layer in found.items()}
    )


def by_name(layers: nn.ModuleDict) -> dict[str, LoraLayer]:
    """The layers by the name of the layer that they change."""
    return {name.replace("/", "."): layer for name, layer in layers.items()}


def train(rounds: int, rate: float, ending: int, work: Path = WORK) -> None:
    """Train, resuming from the last checkpoint if there is one."""
    pictures = Pictures.load(work)
    pipeline = StableDiffusionPipeline.from_pretrained(STARTER, torch_dtype=torch.float32)
    pipeline.unet.to(memory_format=torch.channels_last).requires_grad_(False)
    pipeline.text_encoder.requires_grad_(False)
    schedule = Schedule(pipeline.scheduler.alphas_cumprod)
    teacher, jumps, captions = (
        Teacher(pipeline, schedule),
        Jumps(schedule, work / "jumps"),
        Captions(pictures),
    )
    empty = pipeline.text_encoder(tokenize(pipeline.tokenizer, [""])).last_hidden_state
    layers = build_layers(pipeline.unet)
    optimiser = torch.optim.AdamW(layers.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    average, start, path = Average(layers, 0.99), 0, work / "few-steps.pt"
    if last := load(path):
        layers.load_state_dict(last["layers"])
        optimiser.load_state_dict(last["optimiser"])
        average.values, start = last["average"], last["round"]
    log = Log(STEPS)
    for number in range(start, rounds):
        random, noise = np.random.default_rng(number), torch.Generator().manual_seed(number)
        if len(jumps.latents) <= number:
            tokens = tokenize(pipeline.tokenizer, captions.sample(TRAJECTORIES, random))
            context = pipeline.text_encoder(tokens).last_hidden_state
            jumps.add(teacher.draw(context, empty, noise), tokens)
        for step in range(number * STEPS, (number + 1) * STEPS):
            set_rates([optimiser], warmed_up(step, 50) * min(1.0, (rounds * STEPS - step) / (ending * STEPS)))
            latents, timesteps, tokens, velocities = jumps.sample(BATCH, random)
            with torch.no_grad():
                context = pipeline.text_encoder(tokens).last_hidden_state
            with applied(pipeline.unet, by_name(layers)):
                rows = latents.contiguous(memory_format=torch.channels_last)
                output = pipeline.unet(rows, timesteps, context, return_dict=False)[0]
            loss = (output - velocities).pow(2).mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            average.update(layers, step)
            log.add(step + 1, BATCH, loss=float(loss.detach()))
        save(
            path,
            layers=layers.state_dict(),
            average=average.values,
            optimiser=optimiser.state_dict(),
            round=number + 1,
        )


@torch.no_grad()
def reduce_rank(layer: LoraLayer, rank: int) -> None:
    """Keep the largest part of a layer's change that has a rank."""
    down, up = layer.down.flatten(1), layer.up.flatten(1)
    # the decomposition of a product of two thin matrices, from those of the factors
    (left, first), (right, second) = torch.linalg.qr(up), torch.linalg.qr(down.T)
    rows, sizes, columns = torch.linalg.svd(first @ second.T)
    rank = min(rank, len(sizes))
    roots = (sizes[:rank] * layer.scale).sqrt()
    kernel = layer.down.shape[1:]
    layer.up = nn.Parameter((left @ rows[:, :rank] * roots).reshape(-1, rank, *layer.up.shape[2:]))
    layer.down = nn.Parameter((roots[:, None] * columns[:rank] @ right.T).reshape(rank, *kernel))
    layer.scale, layer.alpha = 1.0, float(rank)


def ship(path: Path, rank: int, work: Path = WORK) -> None:
    """Write the average of the last steps as a LoRA in kohya's layout, in half precision."""
    unet = UNet2DConditionModel.from_pretrained(STARTER / "unet")
    layers, last = build_layers(unet), load(work / "few-steps.pt")
    layers.load_state_dict(last["average"])
    for layer in layers.values():
        reduce_rank(layer, rank)
    metadata = {
        "ss_output_name": path.stem,
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "starter",
        "ss_new_sd_model_hash": file_digest(STARTER / "unet/diffusion_pytorch_model.safetensors", None),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_steps": str(last["round"] * STEPS),
        "ss_total_batch_size": str(BATCH),
        "ss_training_comment": f"training/few_steps.py: {last['round'] * TRAJECTORIES} trajectories",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "Few steps for Safelight's starter",
        "modelspec.license": "Apache-2.0",
        "modelspec.usage_hint": "4 to 6 steps, guidance 1, sampler TCD with eta 0, or LCM",
    }
    write_trained_file(path, lora_tensors(by_name(layers)), metadata)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--ending", type=int, default=5, help="Last rounds, in which the rate goes down.")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=SHIPPED_RANK)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    chosen = parser.parse_args()
    train(chosen.rounds, chosen.rate, chosen.ending)
    ship(chosen.out, chosen.rank)
