from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from safelight.errors import CheckpointInvalidError, RequestError
from safelight.generation.prompts import Segments, parse_prompt, prompt_phases, segments_at
from safelight.generation.prompts.embedding_cache import EmbeddingCache
from safelight.generation.prompts.encode import (
    CLIPEncoder,
    Conditioning,
    PromptEncoder,
    sd_encoder,
    sdxl_encoder,
)

PROMPTS = ["", "a cat", "red hat, sun.", "Cat  DOG\ncat", "cat " * 14, "é!"]


def text_model(
    tokenizer: CLIPTokenizer,
    kind: type[CLIPTextModel | CLIPTextModelWithProjection] = CLIPTextModel,
    width: int = 16,
) -> CLIPTextModel | CLIPTextModelWithProjection:
    torch.manual_seed(width)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = kind(config).eval()
    with torch.no_grad():  # as in a trained network: the norm's result has a mean
        getattr(model, "text_model", model).final_layer_norm.bias.normal_(0.5, 0.1)
    return model


@pytest.fixture(scope="module")
def model(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return text_model(tokenizer)


@pytest.fixture(scope="module")
def encoder(tokenizer: CLIPTokenizer, model: CLIPTextModel) -> PromptEncoder:
    return sd_encoder(tokenizer, model)


@pytest.fixture(scope="module")
def second_tokenizer(make_tokenizer: Callable[..., CLIPTokenizer]) -> CLIPTokenizer:
    return make_tokenizer(pad="!")


@pytest.fixture(scope="module")
def xl_models(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    return text_model(tokenizer, width=8), text_model(tokenizer, CLIPTextModelWithProjection, 16)


@pytest.fixture(scope="module")
def xl_encoder(
    tokenizer: CLIPTokenizer,
    second_tokenizer: CLIPTokenizer,
    xl_models: tuple[CLIPTextModel, CLIPTextModelWithProjection],
) -> PromptEncoder:
    return sdxl_encoder((tokenizer, second_tokenizer), xl_models)


@pytest.fixture(scope="module")
def pipeline(tokenizer: CLIPTokenizer, model: CLIPTextModel) -> StableDiffusionPipeline:
    parts = dict.fromkeys(("vae", "unet", "scheduler", "safety_checker", "feature_extractor"))
    return StableDiffusionPipeline(
        **parts, text_encoder=model, tokenizer=tokenizer, requires_safety_checker=False
    )


@pytest.fixture(scope="module")
def xl_pipeline(
    tokenizer: CLIPTokenizer,
    second_tokenizer: CLIPTokenizer,
    xl_models: tuple[CLIPTextModel, CLIPTextModelWithProjection],
) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=None,
        unet=None,
        scheduler=None,
        text_encoder=xl_models[0],
        text_encoder_2=xl_models[1],
        tokenizer=tokenizer,
        tokenizer_2=second_tokenizer,
        add_watermarker=False,
    )


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def weighted_text(text: str) -> Segments:
    return segments_at(parse_prompt(text), 0, 1)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_stable_diffusion_is_bit_identical_to_diffusers(
    encoder: PromptEncoder, pipeline: StableDiffusionPipeline, prompt: str
) -> None:
    expected = pipeline.encode_prompt(prompt, "cpu", 1, True, "sun")
    positive, negative = encoder.encode_pair(weighted_text(prompt), weighted_text("sun"))
    assert torch.equal(positive.embeddings, expected[0])
    assert torch.equal(negative.embeddings, expected[1])
    assert positive.pooled is None
    assert positive.embeddings.shape == (1, 16, 16)


@pytest.mark.parametrize("clip_skip", [2, 3, 4])
def test_clip_skip_counts_one_more_than_diffusers(
    tokenizer: CLIPTokenizer, encoder: PromptEncoder, pipeline: StableDiffusionPipeline, clip_skip: int
) -> None:
    """diffusers 0.42 looks for the final norm under text_model, where transformers 5 does not have it any more."""
    old_layout = text_model(tokenizer)
    object.__setattr__(old_layout, "text_model", old_layout)
    parts = dict.fromkeys(("vae", "unet", "scheduler", "safety_checker", "feature_extractor"))
    theirs = StableDiffusionPipeline(
        **parts, text_encoder=old_layout, tokenizer=tokenizer, requires_safety_checker=False
    )
    expected, _ = theirs.encode_prompt("a cat", "cpu", 1, False, clip_skip=clip_skip - 1)
    assert torch.equal(encoder.encode(weighted_text("a cat"), clip_skip=clip_skip).embeddings, expected)
    assert torch.equal(
        sd_encoder(tokenizer, old_layout).encode(weighted_text("a cat"), clip_skip=clip_skip).embeddings,
        expected,
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_sdxl_is_bit_identical_to_diffusers(
    xl_encoder: PromptEncoder, xl_pipeline: StableDiffusionXLPipeline, prompt: str
) -> None:
    expected = xl_pipeline.encode_prompt(prompt, device="cpu", negative_prompt="sun")
    positive, negative = xl_encoder.encode_pair(weighted_text(prompt), weighted_text("sun"))
    found = positive.embeddings, negative.embeddings, positive.pooled, negative.pooled
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert positive.embeddings.shape == (1, 16, 24)
    assert positive.pooled is not None
    assert positive.pooled.shape == (1, 8)


@pytest.mark.parametrize(("clip_skip", "theirs"), [(1, None), (2, None), (3, 1), (4, 2)])
def test_sdxl_uses_the_penultimate_layer(
    xl_encoder: PromptEncoder, xl_pipeline: StableDiffusionXLPipeline, clip_skip: int, theirs: int | None
) -> None:
    expected = xl_pipeline.encode_prompt(
        "a cat", device="cpu", clip_skip=theirs, do_classifier_free_guidance=False
    )
    found = xl_encoder.encode(weighted_text("a cat"), clip_skip=clip_skip)
    assert torch.equal(found.embeddings, expected[0])
    assert torch.equal(found.pooled, expected[2])


def test_sdxl_without_a_negative_prompt_has_zero_embeddings(
    tokenizer: CLIPTokenizer,
    second_tokenizer: CLIPTokenizer,
    xl_models: tuple[CLIPTextModel, CLIPTextModelWithProjection],
    xl_encoder: PromptEncoder,
    xl_pipeline: StableDiffusionXLPipeline,
) -> None:
    _, zeros, _, pooled_zeros = xl_pipeline.encode_prompt("a cat", device="cpu")
    _, negative = xl_encoder.encode_pair(weighted_text("a cat"), ())
    assert torch.equal(negative.embeddings, zeros)
    assert torch.equal(negative.pooled, pooled_zeros)
    other = sdxl_encoder((tokenizer, second_tokenizer), xl_models, zeros_for_empty=False)
    _, negative = other.encode_pair(weighted_text("a cat"), ())
    _, empty, _, pooled = xl_pipeline.encode_prompt("a cat", device="cpu", negative_prompt="")
    assert torch.equal(negative.embeddings, empty)
    assert torch.equal(negative.pooled, pooled)


def test_the_refiner_has_only_the_second_encoder(
    second_tokenizer: CLIPTokenizer,
    xl_models: tuple[CLIPTextModel, CLIPTextModelWithProjection],
    xl_encoder: PromptEncoder,
) -> None:
    refiner = sdxl_encoder((second_tokenizer,), xl_models[1:])
    alone, both = refiner.encode(weighted_text("a cat")), xl_encoder.encode(weighted_text("a cat"))
    assert torch.equal(alone.embeddings, both.embeddings[..., 8:])
    assert torch.equal(alone.pooled, both.pooled)


def test_textual_inversions_of_several_vectors(make_tokenizer: Callable[..., CLIPTokenizer]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<own>", "<own>_1", "<own>_2"])
    model = text_model(tokenizer)
    parts = dict.fromkeys(("vae", "unet", "scheduler", "safety_checker", "feature_extractor"))
    theirs = StableDiffusionPipeline(
        **parts, text_encoder=model, tokenizer=tokenizer, requires_safety_checker=False
    )
    expected, _ = theirs.encode_prompt("a <own> cat", "cpu", 1, False)
    assert torch.equal(sd_encoder(tokenizer, model).encode(weighted_text("a <own> cat")).embeddings, expected)


@pytest.mark.parametrize("first", ["cat " * 14, "cat BREAK "])
def test_each_chunk_is_encoded_on_its_own(encoder: PromptEncoder, first: str) -> None:
    both = encoder.encode(weighted_text(first + "dog")).embeddings
    assert both.shape == (1, 32, 16)
    assert torch.equal(both[:, :16], encoder.encode(weighted_text(first.removesuffix(" BREAK "))).embeddings)
    assert torch.equal(both[:, 16:], encoder.encode(weighted_text("dog")).embeddings)


def test_the_pooled_embedding_is_the_first_chunks(xl_encoder: PromptEncoder) -> None:
    assert torch.equal(
        xl_encoder.encode(weighted_text("cat BREAK dog")).pooled,
        xl_encoder.encode(weighted_text("cat")).pooled,
    )


def test_the_shorter_prompt_is_padded_with_empty_chunks(encoder: PromptEncoder) -> None:
    long, short, empty = (encoder.encode(weighted_text(text)).embeddings for text in ("cat " * 30, "dog", ""))
    for pair in (("cat " * 30, "dog"), ("dog", "cat " * 30)):
        found = {part.embeddings.shape for part in encoder.encode_pair(*map(weighted_text, pair))}
        assert found == {(1, 48, 16)}
    positive, negative = encoder.encode_pair(weighted_text("cat " * 30), weighted_text("dog"))
    assert torch.equal(positive.embeddings, long)
    assert torch.equal(negative.embeddings, torch.cat([short, empty, empty], dim=1))


def test_weights_multiply_and_the_mean_is_restored(encoder: PromptEncoder) -> None:
    plain, found = (
        encoder.encode(weighted_text(text)).embeddings for text in ("a cat dog", "a (cat:1.5) dog")
    )
    factors = torch.ones(16)
    factors[2] = 1.5  # after the start and "a"
    weighed = plain * factors[None, :, None]
    torch.testing.assert_close(found, weighed * (plain.mean() / weighed.mean()))
    torch.testing.assert_close(found.mean(), plain.mean())
    assert not torch.allclose(found, weighed)


def test_each_chunk_has_its_own_mean(encoder: PromptEncoder) -> None:
    found = encoder.encode(weighted_text("(cat:1.5) BREAK dog")).embeddings
    assert torch.equal(found[:, :16], encoder.encode(weighted_text("(cat:1.5)")).embeddings)
    assert torch.equal(found[:, 16:], encoder.encode(weighted_text("dog")).embeddings)


def test_a_weight_of_zero_removes_a_word(encoder: PromptEncoder) -> None:
    found = encoder.encode(weighted_text("cat (dog:0) sun")).embeddings
    assert found[0, 2].abs().max() == 0
    assert torch.isfinite(found).all()
    assert found[0, 1].abs().max() > 0


def test_a_weight_of_one_changes_no_bit(encoder: PromptEncoder) -> None:
    assert torch.equal(
        encoder.encode(weighted_text("(cat:1.0)")).embeddings, encoder.encode(weighted_text("cat")).embeddings
    )


def test_without_a_mean_to_restore_the_factor_is_bounded(tokenizer: CLIPTokenizer) -> None:
    """A final norm without a bias gives every token the mean 0: the quotient of two such means is noise."""
    model = text_model(tokenizer)
    model.final_layer_norm.bias.zero_()
    encoder = sd_encoder(tokenizer, model)
    plain, found = (
        encoder.encode(weighted_text(text)).embeddings for text in ("cat dog", "(cat:1.5) (dog:0.8)")
    )
    factor = (found[0, 0] / plain[0, 0]).mean()
    assert 0.999 / 1.5 <= factor <= 1.001 / 0.8
    model.final_layer_norm.weight.zero_()
    assert torch.equal(
        sd_encoder(tokenizer, model).encode(weighted_text("(cat)")).embeddings, torch.zeros(1, 16, 16)
    )


def test_restoring_the_mean_is_optional(
    tokenizer: CLIPTokenizer, model: CLIPTextModel, encoder: PromptEncoder
) -> None:
    plain = encoder.encode(weighted_text("cat dog")).embeddings
    free = PromptEncoder([CLIPEncoder(tokenizer, model, restore_mean=False)])
    found = free.encode(weighted_text("cat (dog:1.5)")).embeddings
    torch.testing.assert_close(found[:, 2], plain[:, 2] * 1.5)
    assert torch.equal(found[:, :2], plain[:, :2])
    assert torch.equal(found[:, 3:], plain[:, 3:])


def test_half_precision_is_kept(tokenizer: CLIPTokenizer) -> None:
    encoder = sd_encoder(tokenizer, text_model(tokenizer).to(torch.bfloat16))
    assert encoder.encode(weighted_text("a (cat:1.3) dog")).embeddings.dtype == torch.bfloat16


@pytest.mark.parametrize("clip_skip", [0, 5, -1])
def test_a_layer_that_does_not_exist(
    encoder: PromptEncoder, xl_encoder: PromptEncoder, clip_skip: int
) -> None:
    for each in (encoder, xl_encoder):
        with pytest.raises(RequestError, match="text encoder has layers 1 to 4"):
            each.encode(weighted_text("a"), clip_skip=clip_skip)


@pytest.mark.parametrize("length", [2, 17, int(1e30)])
def test_a_tokenizer_that_does_not_match(
    make_tokenizer: Callable[..., CLIPTokenizer], model: CLIPTextModel, length: int
) -> None:
    with pytest.raises(CheckpointInvalidError, match="the text encoder reads 3 to 16 tokens"):
        sd_encoder(make_tokenizer(length), model)


def test_a_tokenizer_may_be_shorter_than_the_text_encoder(
    make_tokenizer: Callable[..., CLIPTokenizer], model: CLIPTextModel
) -> None:
    assert sd_encoder(make_tokenizer(8), model).encode(weighted_text("cat " * 7)).embeddings.shape == (
        1,
        16,
        16,
    )


def test_all_phases_have_one_shape(encoder: PromptEncoder) -> None:
    positive, negative = parse_prompt("[cat|dog BREAK sun]"), parse_prompt("[red:hat:1]")
    found = encoder.encode_phases(prompt_phases(positive, 4), prompt_phases(negative, 4))
    assert [phase.first_step for phase in found] == [0, 1, 2, 3]
    assert {part.embeddings.shape for each in found for part in (each.positive, each.negative)} == {
        (1, 32, 16)
    }
    for phase in found:
        expected = encoder.encode_pair(
            segments_at(positive, phase.first_step, 4),
            segments_at(negative, phase.first_step, 4),
            min_chunks=2,
        )
        assert torch.equal(phase.positive.embeddings, expected[0].embeddings)
        assert torch.equal(phase.negative.embeddings, expected[1].embeddings)


def test_phases_begin_where_either_prompt_changes(encoder: PromptEncoder) -> None:
    found = encoder.encode_phases(
        prompt_phases(parse_prompt("[a:b:2]"), 9), prompt_phases(parse_prompt("[c:d:7]"), 9)
    )
    assert [phase.first_step for phase in found] == [0, 2, 7]
    assert found[0].negative is found[1].negative
    assert found[1].positive is found[2].positive


def test_encoded_prompts_are_cached(tokenizer: CLIPTokenizer, model: CLIPTextModel) -> None:
    cache = EmbeddingCache[Conditioning](10_000)
    first = sd_encoder(tokenizer, model, cache=cache, identity="weights")
    same = sd_encoder(tokenizer, model, cache=cache, identity="weights")
    other = sd_encoder(tokenizer, model, cache=cache, identity="weights and a LoRA")
    kept = first.encode(weighted_text("a cat"))
    assert same.encode(weighted_text("a cat")) is kept
    assert other.encode(weighted_text("a cat")) is not kept
    for changed in (
        first.encode(weighted_text("a (cat)")),
        first.encode(weighted_text("a cat"), clip_skip=2),
    ):
        assert not torch.equal(changed.embeddings, kept.embeddings)
    assert first.encode(weighted_text("a cat"), min_chunks=2).embeddings.shape == (1, 32, 16)
    assert (cache.hits, cache.misses) == (1, 5)
    assert cache.nbytes == 4 * 1024 + 2048
    assert first.encode(weighted_text("a cat")) is kept


def test_embeddings_keep_no_graph(encoder: PromptEncoder) -> None:
    with torch.enable_grad():
        assert not encoder.encode(weighted_text("red sun")).embeddings.requires_grad
