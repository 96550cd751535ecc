"""Search for similar pictures by their embeddings: vector stores.

``store`` has the protocol and the registry, ``stores`` the built-in store.
"""

from safelight.search.store import VECTOR_STORES, Match, VectorSpace, VectorStore, VectorStoreType

__all__ = ["VECTOR_STORES", "Match", "VectorSpace", "VectorStore", "VectorStoreType"]
