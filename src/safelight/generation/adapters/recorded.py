"""The adapters and textual inversions that a record names, on this machine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import NotReproducibleError, SafelightError
from safelight.generation.prompts.inversions import escape_names
from safelight.generation.record import AdapterRef, EmbeddingRef
from safelight.models.adapters.adapter_names import AdapterKind, NamedAdapter, find_adapter, list_adapters
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.digests import cached_digest, file_digest
from safelight.settings import Settings


@dataclass(frozen=True)
class RecordedFiles:
    """Finds the files that records name.

    Args:
        settings: The folders.
    """

    settings: Settings

    def adapter_name(self, adapter: AdapterRef) -> str:
        """The name of an adapter here: the file of its name, or another one with its bytes.

        Raises:
            NotReproducibleError: It is missing, or was replaced by another file.
        """
        named = self._find(adapter.name, "LoRA")
        if named is not None and self._digest(named) == adapter.digest:
            return adapter.name
        for each in list_adapters(self._folders, "LoRA"):
            if self._may_be(each, adapter) and self._digest(each) == adapter.digest:
                return str(each.path)
        raise _not_there(f"adapter {adapter.name}", adapter.digest, named)

    def check_embedding(self, embedding: EmbeddingRef) -> None:
        """Check that a textual inversion is what it was.

        Raises:
            NotReproducibleError: It is missing, or was replaced by another file.
        """
        named = self._find(embedding.name, "embedding")
        if named is None or self._digest(named) != embedding.digest:
            raise _not_there(f"textual inversion {embedding.name}", embedding.digest, named)

    def escape(self, prompt: str, used: Collection[str]) -> str:
        """A prompt in which the names of textual inversions that were not used are plain text."""
        here = {each.name for each in list_adapters(self._folders, "embedding", texts=[prompt])}
        return escape_names(here - set(used), prompt)

    @property
    def _folders(self) -> list[Path]:
        return adapter_folders(self.settings.home, self.settings.current_model_folders)

    def _find(self, name: str, kind: AdapterKind) -> NamedAdapter | None:
        try:
            return find_adapter(name, self._folders, kind)
        except SafelightError:
            return None

    def _digest(self, file: NamedAdapter) -> str:
        return file_digest(file.path, self.settings.cache_folder)

    def _may_be(self, file: NamedAdapter, adapter: AdapterRef) -> bool:
        """Whether a file may be a recorded adapter, as far as that is known without reading all of it."""
        noted = read_header(file.path).metadata.get("sshs_model_hash", "")
        known = cached_digest(file.path, self.settings.cache_folder)
        return known == adapter.digest or (bool(noted) and noted.startswith(adapter.hash))


def _not_there(what: str, digest: str, named: NamedAdapter | None) -> NotReproducibleError:
    state = "is missing" if named is None else f"was replaced: {named.path} is another file"
    return NotReproducibleError(
        f"The picture was generated with the {what}, which {state}.",
        hint=f"Its file has the SHA-256 {digest[:16]}….",
    )
