"""Errors of vector stores."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class VectorStoreError(SafelightError):
    """A vector store cannot be used."""

    code = "search"
    summary = "The vector store cannot be used."


class VectorStoreDamagedError(VectorStoreError):
    """A vector store's file is damaged, or is no vector store."""

    code = "search.damaged"
    summary = "The vector store's file is damaged."
    default_hint = "Restore it from a backup; or delete it, and store the vectors again."


class VectorStoreLockedError(VectorStoreError):
    """Another process has the vector store open."""

    code = "search.locked"
    summary = "Another process has the vector store open."
    default_hint = "Close it there first."
    http_status = 409


class VectorInvalidError(InputError):
    """A vector is of another shape than the store's, is zero or is not finite, or a query is out of range."""

    code = "search.vector"
    summary = "The vectors cannot be stored or searched for."
    http_status = 422


class VectorMismatchError(VectorInvalidError):
    """The vectors are of another classifier or dimension than those of the store."""

    code = "search.mismatch"
    summary = "The vectors are not of the store's classifier or dimension."
    default_hint = (
        "Only embeddings by the same classifier can be compared; each classifier has its own store."
    )
    http_status = 409


class VectorStoreUnknownError(InputError):
    """There is no such type of vector store."""

    code = "search.store"
    summary = "There is no type of vector store of that name."
    http_status = 422
