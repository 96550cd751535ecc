from __future__ import annotations

import pytest

from safelight.models.tokenizers.clip_vocabulary import clip_tokenizer, read_merges


def test_known_token_ids() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert len(read_merges()) == 48894
    # The ids of OpenAI's CLIP; "a photo of a cat" is in every tutorial.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("A  Photo\nof a CAT").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize(("pad", "number"), [("<|endoftext|>", 49407), ("!", 0)])
def test_short_prompts_are_padded(pad: str, number: int) -> None:
    ids = clip_tokenizer(pad)("cat", padding="max_length", truncation=True).input_ids
    assert ids == [49406, 2368, 49407] + [number] * 74
