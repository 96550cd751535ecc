from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from denoiser import Denoiser, build_schedule, rate_at, sample_timesteps, tokenize
from scenes import Pictures
from tokenizer import LENGTH, learn


def test_the_learning_rate_rises_stays_and_falls_to_zero() -> None:
    rates = [rate_at(step, 1000, 200) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99:801] == [1.0] * 702
    assert rates[900] == pytest.approx(0.5)
    assert rates[1000] == 0
    assert all(first < then for first, then in pairwise(rates[:100]))
    assert all(first > then for first, then in pairwise(rates[800:]))


def test_captions_are_padded_as_in_pipelines(pictures: Pictures) -> None:
    tokenizer = learn(pictures.things)
    tokens = tokenize(tokenizer, ["", "a red apple", "red " * 100])
    assert tokens.shape == (3, LENGTH)
    assert (tokens[:, 0] == tokenizer.bos_token_id).all()
    assert (tokens[:, -1] == tokenizer.eos_token_id).all()
    assert (tokens[0, 1:] == tokenizer.eos_token_id).all()


@torch.no_grad()
def test_a_caption_is_encoded_once_for_all_its_noises() -> None:
    torch.manual_seed(0)
    net = Denoiser(600).eval()
    latents, timesteps = torch.randn(4, 4, 16, 16), torch.tensor([10, 200, 500, 900])
    tokens = torch.randint(0, 600, (2, LENGTH))
    together = net(latents, timesteps, tokens)
    apart = net(latents, timesteps, tokens.repeat_interleave(2, 0))
    assert together.shape == latents.shape
    torch.testing.assert_close(together, apart)


def test_the_schedule_is_stable_diffusions_for_velocities() -> None:
    config = build_schedule().config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert config.prediction_type == "v_prediction"


def test_half_of_the_timesteps_are_around_the_middle() -> None:
    times = sample_timesteps(20_000)
    anywhere, middle = times[::2].float(), times[1::2].float()
    assert int(times.min()) >= 0
    assert int(times.max()) <= 999
    assert abs(float(anywhere.std()) - 288.7) < 5  # uniform
    assert abs(float(middle.std()) - 223.6) < 5  # Beta(2, 2): a standard deviation of √(1/20)
    assert abs(float(middle.mean()) - 500) < 8
