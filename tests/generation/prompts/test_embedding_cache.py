from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from safelight.generation.prompts.embedding_cache import EmbeddingCache


@dataclass
class Blob:
    nbytes: int


def test_a_computed_value_is_cached() -> None:
    cache = EmbeddingCache[Blob](100)
    first = cache.get_or_compute("a", lambda: Blob(10))
    assert cache.get_or_compute("a", lambda: Blob(10)) is first
    assert (cache.hits, cache.misses, cache.nbytes, len(cache)) == (1, 1, 10, 1)


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    cache = EmbeddingCache[Blob](100)
    kept = {name: cache.get_or_compute(name, lambda: Blob(40)) for name in "ab"}
    assert cache.get_or_compute("a", lambda: Blob(40)) is kept["a"]
    cache.get_or_compute("c", lambda: Blob(40))
    assert (cache.nbytes, len(cache)) == (80, 2)
    assert cache.get_or_compute("a", lambda: Blob(40)) is kept["a"]
    assert cache.get_or_compute("b", lambda: Blob(40)) is not kept["b"]


def test_a_value_larger_than_the_budget_evicts_nothing() -> None:
    cache = EmbeddingCache[Blob](100)
    cache.get_or_compute("a", lambda: Blob(100))
    cache.get_or_compute("b", lambda: Blob(101))
    assert (cache.nbytes, len(cache)) == (100, 1)


def test_nothing_is_cached_without_a_budget() -> None:
    cache = EmbeddingCache[Blob](0)
    assert cache.get_or_compute("a", lambda: Blob(1)) is not cache.get_or_compute("a", lambda: Blob(1))
    assert (cache.nbytes, cache.misses) == (0, 2)


def test_clearing_evicts_all_entries() -> None:
    cache = EmbeddingCache[Blob](100)
    cache.get_or_compute("a", lambda: Blob(10))
    cache.clear()
    assert (cache.nbytes, len(cache), cache.misses) == (0, 0, 1)


def test_a_key_computed_twice_counts_once() -> None:
    """As when two threads miss at the same time."""
    cache = EmbeddingCache[Blob](100)

    def slow() -> Blob:
        cache.get_or_compute("a", lambda: Blob(30))
        return Blob(40)

    cache.get_or_compute("a", slow)
    assert (cache.nbytes, len(cache)) == (40, 1)


def test_many_threads_leave_the_accounting_right() -> None:
    cache = EmbeddingCache[Blob](50)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cache.get_or_compute(i % 13, lambda: Blob(i % 13 + 1)), range(4000)))
    assert cache.hits + cache.misses == 4000
    assert cache.nbytes <= 50
    cache.clear()
    assert cache.nbytes == 0
