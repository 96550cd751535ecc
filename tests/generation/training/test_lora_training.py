from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.tiny.original_layout import write_single_file

from safelight.errors import TrainingStateError, UnsupportedError
from safelight.generation.prompts.encode import Conditioning
from safelight.generation.training.encoded_examples import EncodedExamples
from safelight.generation.training.examples import Example
from safelight.generation.training.lora_layers import LoraLayer, applied, find_layers
from safelight.generation.training.lora_training import (
    LoraOptions,
    LoraTrainer,
    TrainedLora,
    build_layers,
)
from safelight.generation.training.noise_prediction import prediction_loss, sample_step
from safelight.generation.training.trained_file import lora_tensors, write_trained_file
from safelight.generation.training.trained_metadata import describe_training
from safelight.generation.training.trainer import rate_share
from safelight.models.adapters.loading import load_adapter
from safelight.models.checkpoints.discovery import Checkpoint, find_checkpoint
from safelight.models.families import FAMILIES
from safelight.models.inventory.weights_file import describe_weights_file

SHORT = LoraOptions(rank=2, steps=4, batch=2, learning_rate=0.01, resolution=64, layers="all", flip=True)
Find = Callable[[str], Checkpoint]


@pytest.fixture(scope="module")
def find(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Find:
    home = tmp_path_factory.mktemp("home")
    return lambda name: find_checkpoint(str(tiny(name)), home)


@pytest.fixture(scope="module")
def unet(tiny: Callable[[str], Path]) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny("sd1") / "unet").requires_grad_(False)


@pytest.fixture(scope="module")
def trained(find: Find, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> TrainedLora:
    return train(find("sd1"), examples, tmp_path_factory.mktemp("state"))


def train(checkpoint: Checkpoint, examples: list[Example], folder: Path, **changed: Any) -> TrainedLora:
    return LoraTrainer(checkpoint, examples, replace(SHORT, **changed)).train(folder / "state")


def same(one: TrainedLora, other: TrainedLora) -> bool:
    first, second = lora_tensors(one.layers, torch.float32), lora_tensors(other.layers, torch.float32)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def call(unet: UNet2DConditionModel) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(2, 4, 8, 8, generator=random)
    context = torch.randn(2, 77, unet.config.cross_attention_dim, generator=random)
    with torch.no_grad():
        return unet(latents, torch.tensor([900, 100]), context, return_dict=False)[0]


def test_the_same_training_gives_the_same_lora(trained, find, examples, tmp_path):
    assert (trained.steps, len(trained.losses), trained.resolution) == (4, 4, 64)
    assert same(trained, train(find("sd1"), examples, tmp_path))
    assert not list(tmp_path.iterdir())
    other = train(find("sd1"), examples, tmp_path, seed=1)
    assert not same(trained, other)
    assert sum(float(layer.up.detach().abs().sum()) for layer in trained.layers.values()) > 0


def test_a_stopped_training_goes_on_as_if_it_had_not_been(trained, find, examples, tmp_path):
    trainer = LoraTrainer(find("sd1"), examples, SHORT)
    done: list[int] = []
    stopped = trainer.train(
        tmp_path / "state", on_step=lambda step, _: done.append(step), should_stop=lambda: len(done) == 2
    )
    assert stopped.steps == 2
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    messages: list[str] = []
    again = LoraTrainer(find("sd1"), examples, SHORT, on_message=messages.append)
    whole = again.train(tmp_path / "state")
    assert "Going on after step 2 …" in messages
    assert len(whole.losses) == 2
    assert same(whole, trained)
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_training_is_refused(find, examples, tmp_path):
    state = tmp_path / "state"
    LoraTrainer(find("sd1"), examples, SHORT).train(state, should_stop=lambda: True)
    with pytest.raises(TrainingStateError, match="other pictures"):
        LoraTrainer(find("sd1"), examples, replace(SHORT, steps=5)).train(state)
    with pytest.raises(TrainingStateError, match="other pictures"):
        LoraTrainer(find("sd1"), examples[:2], SHORT).train(state)
    trainer = LoraTrainer(find("sd1"), examples, SHORT)
    tensors = load_file(state)
    tensors.pop(min(tensors))
    save_file(tensors, state, {"identity": trainer.identity, "step": "1"})
    with pytest.raises(TrainingStateError, match="damaged"):
        trainer.train(state)
    state.write_bytes(b"no tensors")
    with pytest.raises(TrainingStateError, match="damaged"):
        trainer.train(state)


def test_the_state_is_kept_from_time_to_time(find, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("safelight.generation.training.trainer.SAVE_EVERY", 3)

    def fail(step: int, _: float) -> None:
        if step == 4:
            raise RuntimeError("the power fails")

    trainer = LoraTrainer(find("sd1"), examples, SHORT)
    with pytest.raises(RuntimeError, match="the power fails"):
        trainer.train(tmp_path / "state", on_step=fail)
    done: list[int] = []
    trainer.train(tmp_path / "state", on_step=lambda step, _: done.append(step))
    assert done == [4]


def test_the_loss_goes_down(unet):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type="epsilon")
    random = torch.Generator().manual_seed(0)
    words = Conditioning(torch.randn(1, 77, unet.config.cross_attention_dim, generator=random), None)
    data = EncodedExamples(torch.randn(3, 1, 4, 8, 8, generator=random), [words] * 3, words, None)
    sample = sample_step(0, data, 8, seed=0, caption_dropout=0.1, timesteps=1000)
    layers = build_layers(unet, replace(SHORT, rank=4))
    optimiser = torch.optim.AdamW(
        [factor for layer in layers.values() for factor in layer.parameters()], lr=0.02
    )
    losses = []
    with applied(unet, layers):
        for _ in range(4):
            loss = prediction_loss(unet, scheduler, data, sample, 5.0)
            losses.append(float(loss.detach()))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.97 * losses[0]


def test_the_file_changes_the_network_as_the_trained_layers_do(unet, trained, tmp_path):
    plain = call(unet)
    with applied(unet, trained.layers):
        wanted = call(unet)
    assert torch.equal(call(unet), plain)
    assert not torch.allclose(wanted, plain, atol=1e-3)
    path = tmp_path / "x.safetensors"
    write_trained_file(path, lora_tensors(trained.layers, torch.float32), {})
    loaded = load_adapter(path, {"unet": unet}, FAMILIES["sd1"], "")
    assert (loaded.matched, loaded.unmatched) == (len(trained.layers), ())
    layers = find_layers(unet, ("conv1", "conv2", "to_q", "ff.net.2", "conv_shortcut"))
    assert {f"{name}.weight" for name in layers} < loaded.changes["unet"].keys()
    for name, change in loaded.changes["unet"].items():
        layer, factors = trained.layers[name.removesuffix(".weight")], change.low_rank
        assert factors is not None
        assert torch.equal(factors.down, layer.down)
        assert torch.equal(factors.up, layer.up)
        assert factors.scale == layer.scale
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    parameters = dict(unet.named_parameters())
    for name, change in loaded.changes["unet"].items():
        parameters[name].data += change.delta(parameters[name], 1.0)
    merged = call(unet)
    unet.load_state_dict(before)
    assert torch.allclose(merged, wanted, atol=1e-5)


def test_the_file_says_what_it_is(trained, find, examples, tmp_path):
    path = tmp_path / "squares.safetensors"
    metadata = describe_training("squares", find("sd1"), SHORT, trained, examples, "plain, square")
    write_trained_file(path, lora_tensors(trained.layers), metadata)
    found = describe_weights_file(path)
    assert found.found.kind == "LoRA"
    assert found.precisions.keys() == {"fp16"}
    assert found.trigger_words == ("plain", "square")
    assert found.training_tags == {"plain": 2, "a red square": 1, "a green square": 1, "a blue square": 1}
    assert found.metadata["ss_network_dim"] == "2"
    assert found.metadata["ss_num_train_images"] == "3"
    bytes_before = path.read_bytes()
    content = bytes_before[8 + int.from_bytes(bytes_before[:8], "little") :]
    assert found.metadata["sshs_model_hash"] == hashlib.sha256(content).hexdigest()
    write_trained_file(path, lora_tensors(trained.layers), metadata)
    assert path.read_bytes() == bytes_before


def test_checkpointing_saves_memory_only(trained, find, examples, tmp_path):
    other = train(find("sd1"), examples, tmp_path, gradient_checkpointing=True)
    for name, layer in trained.layers.items():
        assert torch.allclose(layer.up, other.layers[name].up, atol=1e-5), name


@pytest.mark.parametrize("name", ["sd2", "sdxl"])
def test_other_families(find, examples, tmp_path, name):
    found = train(find(name), examples, tmp_path, steps=1, layers="attention")
    assert found.steps == 1
    assert all(bool(layer.up.detach().any()) for layer in found.layers.values())


def test_a_single_file_gives_the_same_lora_as_its_folder(trained, tiny, examples, tmp_path):
    file = write_single_file(tiny("sd1"), tmp_path / "one.safetensors")
    shutil.copytree(tiny("sd1"), tmp_path / "one", ignore=shutil.ignore_patterns("*.safetensors"))
    assert same(trained, train(find_checkpoint(str(file), tmp_path), examples, tmp_path))


@pytest.mark.parametrize("name", ["sd1-inpaint", "sd1-lcm", "sdxl-refiner", "sd3"])
def test_checkpoints_that_are_trained_in_another_way_are_refused(find, examples, name):
    with pytest.raises(UnsupportedError, match="nothing can be trained"):
        LoraTrainer(find(name), examples, SHORT)


def test_a_checkpoint_that_does_not_fit_is_refused(find, examples):
    large = replace(find("sd1"), elements=10**13)
    with pytest.raises(UnsupportedError, match=r"takes 20000\.0 GB in bf16"):
        LoraTrainer(large, examples, replace(SHORT, precision="bf16"))


def test_bf16(find, examples, tmp_path):
    found = train(find("sd1"), examples, tmp_path, steps=1, precision="bf16")
    assert {layer.up.dtype for layer in found.layers.values()} == {torch.float32}
    assert all(bool(layer.up.detach().isfinite().all()) for layer in found.layers.values())


def test_the_rate_rises_and_falls():
    shares = [rate_share(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.2)
    assert shares.index(max(shares)) == 4
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[-1] < 0.001
    assert rate_share(0, 1) == 1


def test_each_example_occurs_once_before_any_occurs_again():
    data = EncodedExamples(torch.zeros(5, 2, 4, 2, 2), [], Conditioning(torch.zeros(1), None), None)
    samples = [sample_step(step, data, 4, seed=3, caption_dropout=0.5, timesteps=10) for step in range(5)]
    rows = [row for sample in samples for row in sample.rows]
    assert [sorted(rows[start : start + 5]) for start in range(0, 20, 5)] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(rows[start : start + 5]) for start in range(0, 20, 5)}) > 1
    for field in ("flipped", "dropped"):
        assert len({value for sample in samples for value in getattr(sample, field)}) == 2
    assert int(torch.cat([sample.timesteps for sample in samples]).max()) <= 9


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_the_error_of_the_picture_the_same_for_every_kind_of_prediction(kind):
    """A network whose picture is off by the same amount has the same loss, whatever it predicts."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)
    data = EncodedExamples(torch.ones(1, 1, 1, 2, 2), [], Conditioning(torch.zeros(1, 1, 1), None), None)
    sample = replace(
        sample_step(0, data, 4, seed=0, caption_dropout=1.0, timesteps=1000),
        timesteps=torch.tensor([0, 100, 500, 999]),
    )
    signal = scheduler.alphas_cumprod[sample.timesteps][:, None, None, None]
    off = 1.5  # the picture that is predicted, where 1 would be right

    class Predictor:
        dtype = torch.float32

        def __call__(self, noisy: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor]:
            noise = (noisy - signal.sqrt() * off) / (1 - signal).sqrt()
            velocity = signal.sqrt() * noise - (1 - signal).sqrt() * off
            return (
                {"epsilon": noise, "v_prediction": velocity, "sample": torch.full_like(noisy, off)}[kind],
            )

    ratio = (signal / (1 - signal)).flatten()
    loss = prediction_loss(Predictor(), scheduler, data, sample, 5.0)
    assert float(loss) == pytest.approx(float((ratio.clamp(max=5) * 0.25).mean()), rel=1e-3)


def test_a_layer_has_no_higher_rank_than_the_one_it_changes():
    layer = LoraLayer(torch.nn.Conv2d(4, 8, 3, padding=1), 16, 16, torch.Generator())
    assert (layer.down.shape, layer.up.shape, layer.scale) == ((4, 4, 3, 3), (8, 4, 1, 1), 4)
    assert layer(torch.ones(1, 4, 5, 5)).shape == (1, 8, 5, 5)
