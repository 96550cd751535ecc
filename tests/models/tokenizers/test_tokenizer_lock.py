from __future__ import annotations

import threading

from tests.tiny import tokenizer_builders
from transformers import CLIPTokenizer, PixtralProcessor

from safelight.models.tokenizers.tokenizer_lock import make_thread_safe


def test_threads_that_pad_differently_get_their_own_lengths() -> None:
    tokenizer = make_thread_safe(tokenizer_builders.clip())
    wrong: list[tuple[int, int]] = []

    def encode() -> None:
        for _ in range(1000):
            padded = len(tokenizer("red", padding="max_length", truncation=True).input_ids)
            plain = len(tokenizer("red", padding="longest").input_ids)
            if (padded, plain) != (77, 3):
                wrong.append((padded, plain))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_locked_tokenizer_keeps_its_class() -> None:
    tokenizer = make_thread_safe(tokenizer_builders.clip())
    assert isinstance(tokenizer, CLIPTokenizer)
    assert type(tokenizer).__name__ == "CLIPTokenizer"
    assert tokenizer("red").input_ids == tokenizer_builders.clip()("red").input_ids


def test_the_tokenizer_inside_a_processor_is_locked() -> None:
    processor = tokenizer_builders.pixtral()
    plain = type(processor.tokenizer)
    assert isinstance(make_thread_safe(processor), PixtralProcessor)
    assert type(processor.tokenizer) is not plain


def test_other_objects_are_unchanged() -> None:
    thing = {"a": 1}
    assert make_thread_safe(thing) is thing
