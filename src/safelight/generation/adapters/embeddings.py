"""The files of the textual inversions that prompts name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.errors import AdapterFamilyError, AdapterMissingError, SafelightError
from safelight.generation.plan import ExpandedPrompts, Plan
from safelight.generation.prompts.inversions import Inversions, names_in, required_names
from safelight.generation.record import EmbeddingRef
from safelight.models.adapters.adapter_names import NamedAdapter, find_adapter, list_adapters
from safelight.models.adapters.description import describe_adapter
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.digests import FileDigests
from safelight.models.families import Family
from safelight.models.inventory.kind_folders import weights_folders
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.settings import Settings

if TYPE_CHECKING:
    from torch import nn

    from safelight.models.checkpoints.loading import CheckpointParts

EMBEDDINGS = "embeddings"
"""The name of the modifier that textual inversions are leased for."""


def named_embeddings(texts: Iterable[str], family: Family, settings: Settings) -> dict[str, NamedAdapter]:
    """The textual inversions that prompts name, by their names there.

    Those after ``embedding:`` have to be there. Of the others, which are words as well, those count that are for the
    family, or do not say for which they are.

    Raises:
        AdapterMissingError, AdapterAmbiguousError: There is no textual inversion of a name, or there are several.
        AdapterFamilyError: The family has no textual inversions.
    """
    texts, folders = list(texts), weights_folders(settings.home, settings.current_model_folders)
    required = {name for text in texts for name in required_names(text)}
    if family.text_encoding == "plain":
        if required:
            raise AdapterFamilyError(
                f"The prompt names the textual inversion {min(required)}, which a {family.title} checkpoint has no "
                "use for.",
                hint="Textual inversions are for Stable Diffusion 1, 2 and XL.",
                field="prompt",
            )
        return {}
    found = {}
    for name in required:
        if Path(name).expanduser().is_absolute():  # prompts come from everywhere, and files are not for all
            raise AdapterMissingError(f"There is no embedding called {name}.", field="prompt")
        try:
            found[name] = find_adapter(name, folders, "embedding")
        except SafelightError as error:
            error.field = "prompt"
            raise
    listed = list_adapters(folders, "embedding", texts=texts)
    here = {each.name: each for each in listed if each.name not in found}
    for name in {name for text in texts for name in names_in(here, text)}:
        if _may_be_for(here[name], family):
            found[name] = here[name]
    return found


def prompt_texts(plan: Plan, home: Path) -> list[str]:
    """The different prompts of a request's pictures, negative ones and regions' too.

    Raises:
        SafelightError: A prompt cannot be expanded.
    """
    prompts = (plan.prompts(index, home) for index in range(plan.request.count))
    return list(dict.fromkeys(text for each in prompts for text in each.texts))


def described_inversions(texts: Iterable[str], family: Family, settings: Settings) -> Inversions:
    """The textual inversions that prompts name, as their headers describe them; no vectors are read.

    Raises:
        SafelightError: As in ``named_embeddings``.
    """
    found = named_embeddings(texts, family, settings)
    counts = {name: describe_adapter(read_header(each.path)).rank or 1 for name, each in found.items()}
    return Inversions(counts)


def embedding_source(
    found: NamedAdapter,
    parts: CheckpointParts,
    networks: Callable[[], Mapping[str, nn.Module]],
    digests: FileDigests,
    *,
    required: bool,
) -> ComponentSource:
    """How a textual inversion is loaded for a checkpoint.

    Args:
        found: Its file.
        parts: The checkpoint.
        networks: Returns the checkpoint's networks, without weights.
        digests: The digests of files.
        required: Whether it is an error if it is for another family; else the network of its component is None then.
    """
    digest = digests.digest(found.path)
    both = sha256(f"{digest} {parts.digest}".encode()).hexdigest()
    key = ComponentKey(both, "", form="embedding" if required else "word")

    def load() -> Component:
        from safelight.models.adapters.embeddings import load_embedding

        try:
            loaded = load_embedding(found.path, networks(), parts.checkpoint.family, digest)
        except AdapterFamilyError:
            if required:
                raise
            return Component(key, None, 0)
        return Component(key, loaded, loaded.nbytes)

    return ComponentSource(key, found.path.stat().st_size, load)


def used_names(prompts: ExpandedPrompts, networks: Mapping[str, Component]) -> set[str]:
    """The names of the textual inversions that a picture's prompts have.

    Args:
        prompts: The prompts.
        networks: The components of ``embedding_source``, by the names in the prompts of the run.
    """
    here = [name for name, component in networks.items() if component.network is not None]
    return {name for text in prompts.texts for name in names_in(here, text)}


def embedding_refs(prompts: ExpandedPrompts, networks: Mapping[str, Component]) -> tuple[EmbeddingRef, ...]:
    """A record's references to the textual inversions that a picture's prompts name.

    Args:
        prompts: The prompts.
        networks: The textual inversions of the run, by their names in prompts.
    """
    used = used_names(prompts, networks)
    found: list[tuple[str, Any]] = [(name, networks[name].network) for name in sorted(used)]
    return tuple(EmbeddingRef(name=name, digest=each.digest, vectors=each.count) for name, each in found)


def _may_be_for(adapter: NamedAdapter, family: Family) -> bool:
    """Whether a textual inversion is for a family, as far as its header says."""
    try:
        families = describe_adapter(read_header(adapter.path)).families
    except SafelightError:
        return False
    return not families or family.key in families
