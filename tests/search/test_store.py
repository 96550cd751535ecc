from __future__ import annotations

import numpy as np
import pytest

from safelight.errors import VectorInvalidError, VectorMismatchError, VectorStoreUnknownError
from safelight.search import VECTOR_STORES, VectorSpace

SPACE = VectorSpace("a" * 64, 3)


def test_vectors_of_the_space_pass() -> None:
    SPACE.check(SPACE.digest, np.ones((5, 3), np.float32))
    SPACE.check(SPACE.digest, np.zeros((0, 3), np.float32))


@pytest.mark.parametrize(
    ("digest", "shape", "message"),
    [
        ("b" * 64, (1, 3), "the classifier bbb"),
        (SPACE.digest, (1, 4), "dimension 4, not 3"),
        (SPACE.digest, (0, 2), "dimension 2, not 3"),
    ],
)
def test_other_classifiers_and_dimensions_are_refused(
    digest: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(VectorMismatchError, match=message):
        SPACE.check(digest, np.ones(shape, np.float32))


@pytest.mark.parametrize(
    "vectors", [[1, 2, 3], [[1, 2, 3], [0, 0, 0]], [[1, 2, np.nan]], [[np.inf, 0, 0]], [[[1, 2, 3]]]]
)
def test_vectors_without_a_direction_are_refused(vectors: object) -> None:
    with pytest.raises(VectorInvalidError):
        SPACE.check(SPACE.digest, np.array(vectors, np.float32))


def test_there_are_no_vectors_without_elements() -> None:
    with pytest.raises(VectorInvalidError):
        VectorSpace("a" * 64, 0)


def test_an_unknown_type_of_store_has_near_names() -> None:
    with pytest.raises(VectorStoreUnknownError) as caught:
        VECTOR_STORES["exakt"]
    assert caught.value.hint.startswith("Did you mean exact?")
