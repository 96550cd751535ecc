"""Make tokenizers thread-safe.

A fast tokenizer keeps padding and truncation as state of its Rust object and sets them at each call, so two threads
that pad differently would get each other's lengths.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


def make_thread_safe(component: T) -> T:
    """Put a lock around a tokenizer, or around the tokenizer inside a processor.

    Args:
        component: A tokenizer or processor, which stays an instance of its class; anything else is returned unchanged.
    """
    tokenizer = getattr(component, "tokenizer", component)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        tokenizer.__class__ = _locked_subclass(type(tokenizer))
    return component


def _locked_subclass(tokenizer_class: type) -> type:
    """A subclass of the same name that locks ``_encode_plus``, the only method that calls the Rust object."""
    lock = threading.RLock()

    def _encode_plus(self: object, *args: Any, **kwargs: Any) -> Any:
        with lock:
            return tokenizer_class._encode_plus(self, *args, **kwargs)  # type: ignore[attr-defined]

    names = {
        "_encode_plus": _encode_plus,
        "__module__": tokenizer_class.__module__,
        "__qualname__": tokenizer_class.__qualname__,
    }
    return type(tokenizer_class.__name__, (tokenizer_class,), names)
