from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from safelight.errors import TrainingStateError, UsageError
from safelight.generation.training.embedding_training import (
    EmbeddingOptions,
    EmbeddingTrainer,
    TrainedEmbedding,
    initial_vectors,
    with_name,
)
from safelight.generation.training.encoded_examples import load_text_encoders
from safelight.generation.training.examples import Example
from safelight.generation.training.trained_file import embedding_tensors, write_trained_file
from safelight.generation.training.trained_metadata import describe_training
from safelight.models.adapters.embeddings import load_embedding
from safelight.models.checkpoints.discovery import Checkpoint, find_checkpoint
from safelight.models.checkpoints.loading import describe_parts
from safelight.models.inventory.weights_file import describe_weights_file

SHORT = EmbeddingOptions(
    steps=4, batch=2, learning_rate=0.05, resolution=64, vectors=3, words="a", caption_dropout=0.2
)
Find = Callable[[str], Checkpoint]


@pytest.fixture(scope="module")
def find(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Find:
    home = tmp_path_factory.mktemp("home")
    return lambda name: find_checkpoint(str(tiny(name)), home)


@pytest.fixture(scope="module")
def trained(
    find: Find, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> TrainedEmbedding:
    return trainer(find("sd1"), examples).train("zork", tmp_path_factory.mktemp("state") / "state")


def trainer(checkpoint: Checkpoint, examples: list[Example], **changed: object) -> EmbeddingTrainer:
    return EmbeddingTrainer(checkpoint, with_name(examples, "zork"), replace(SHORT, **changed))


def begin(checkpoint: Checkpoint) -> dict[str, Tensor]:
    networks, tokenizers = load_text_encoders(describe_parts(checkpoint, "fp32"))
    names = checkpoint.family.text_encoders
    return {
        name: initial_vectors(network, tokenizer, SHORT)
        for name, network, tokenizer in zip(names, networks, tokenizers, strict=True)
    }


def test_only_the_vectors_learn_and_the_same_training_gives_the_same(trained, find, examples, tmp_path):
    first = begin(find("sd1"))["text_encoder"]
    vectors = trained.vectors["text_encoder"]
    assert torch.equal(first[0], first[2])  # one word for three vectors
    assert vectors.shape == first.shape
    assert all(not torch.equal(one, other) for one, other in zip(vectors, first, strict=True))
    assert (trained.steps, len(trained.losses), trained.resolution) == (4, 4, 64)
    again = trainer(find("sd1"), examples).train("zork", tmp_path / "state")
    assert torch.equal(again.vectors["text_encoder"], vectors)
    assert not list(tmp_path.iterdir())


def test_the_vectors_explain_the_pictures_better_than_the_words_they_began_as(find, examples, tmp_path):
    found = trainer(find("sd1"), examples, steps=12, batch=3, caption_dropout=0.0, learning_rate=0.2)
    losses = found.train("zork", tmp_path / "state").losses
    unlearnt = trainer(find("sd1"), examples, steps=12, batch=3, caption_dropout=0.0, learning_rate=1e-9)
    compared = unlearnt.train("zork", tmp_path / "state").losses
    assert losses[0] == compared[0]
    assert sum(losses[6:]) < sum(compared[6:])


def test_a_stopped_training_goes_on_as_if_it_had_not_been(trained, find, examples, tmp_path):
    state = tmp_path / "state"
    stopped = trainer(find("sd1"), examples).train("zork", state, should_stop=lambda: True)
    assert stopped.steps == 1
    with pytest.raises(TrainingStateError, match="other pictures"):
        trainer(find("sd1"), examples, vectors=2).train("zork", state)
    whole = trainer(find("sd1"), examples).train("zork", state)
    assert len(whole.losses) == 3
    assert torch.equal(whole.vectors["text_encoder"], trained.vectors["text_encoder"])


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_file_is_read_as_any_other(find, examples, tmp_path, name):
    checkpoint = find(name)
    found = trainer(checkpoint, examples, steps=1, caption_dropout=0.0).train("zork", tmp_path / "state")
    path = tmp_path / "zork.safetensors"
    metadata = describe_training("zork", checkpoint, SHORT, found, examples, "zork")
    write_trained_file(path, embedding_tensors(found.vectors), metadata)
    described = describe_weights_file(path)
    assert described.found.kind == "embedding"
    assert described.trigger_words == ("zork",)
    assert described.metadata["ss_init_word"] == "a"
    networks = describe_parts(checkpoint, "fp32").sources
    loaded = load_embedding(
        path,
        {encoder: networks[encoder].load().network for encoder in found.vectors},
        checkpoint.family,
        "",
    )
    assert loaded.vectors.keys() == found.vectors.keys() == set(checkpoint.family.text_encoders)
    first = begin(checkpoint)
    for encoder, vectors in found.vectors.items():
        assert torch.equal(loaded.vectors[encoder], vectors)
        assert not torch.equal(vectors, first[encoder])


def test_a_name_is_put_before_captions_without_it():
    captions = ["a Zork, blue", "a zorkling", "zork"]
    named = with_name([Example(Path("x.png"), each) for each in captions], "zork")
    assert [each.caption for each in named] == ["a Zork, blue", "zork, a zorkling", "zork"]


def test_words_without_a_token_are_refused(find, examples, tmp_path):
    with pytest.raises(UsageError, match="no word"):
        trainer(find("sd1"), examples, words=" ").train("zork", tmp_path / "state")
