"""Read the layout of a diffusers folder: its components, and whether their files are complete.

Nothing is loaded and no model library is imported, so listing a hundred checkpoints stays fast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import (
    CheckpointFamilyError,
    CheckpointInvalidError,
    FileMissingError,
    PickleRefusedError,
)
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, Header, TensorEntry, read_header

INDEX_NAME = "model_index.json"
NOT_LOADED = frozenset({"safety_checker", "feature_extractor", "image_encoder", "pe", "pe_tokenizer"})
"""Components that are not loaded: Safelight's own policy judges pictures, prompts are used as written (ERNIE-Image's
``pe`` rewrites them), and nothing needs the others."""

_READ = (".json", ".txt", ".model", ".jinja")
_WITHOUT_WEIGHTS = (
    *("scheduler", "tokenizer", "guider", "ocr_guider"),
    *("processor", "image_processor", "siglip_processor"),
)
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model", "kolors": "model"}
"""File names of weights by library; kolors, a module of diffusers, has ChatGLM."""


@dataclass(frozen=True)
class ComponentFiles:
    """The files of one component of a checkpoint.

    Args:
        name: The pipeline's name of it: unet, vae, text_encoder …
        library: diffusers, transformers, or kolors, which is a module of diffusers.
        class_name: Its class in that library.
        folder: The folder of its files.
        weights: Its weights files; empty for a scheduler or a tokenizer.
        weights_variant: The variant in the weights' file names ("fp16"); None if there is none.
    """

    name: str
    library: str
    class_name: str
    folder: Path
    weights: tuple[Path, ...] = ()
    weights_variant: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether it is a network."""
        return not self.name.startswith(_WITHOUT_WEIGHTS)

    def config(self) -> Mapping[str, object]:
        """Its config.json, or a scheduler's scheduler_config.json.

        Raises:
            CheckpointInvalidError: It is missing or damaged.
        """
        name = "scheduler_config.json" if self.name == "scheduler" else "config.json"
        return read_json(self.folder / name)


@dataclass(frozen=True)
class DiffusersFolder:
    """A diffusers folder whose files are complete.

    Args:
        path: The folder.
        pipeline_class: The pipeline class in its index.
        options: The index's other values, for example ``force_zeros_for_empty_prompt``.
        components: Its components by name.
    """

    path: Path
    pipeline_class: str
    options: Mapping[str, object]
    components: Mapping[str, ComponentFiles]

    @property
    def weights(self) -> list[Path]:
        """All weights files, component by component."""
        return [file for component in self.components.values() for file in component.weights]

    @property
    def configs(self) -> list[Path]:
        """The configs and vocabularies of all components: every file that is read besides the weights."""
        folders = {component.folder: None for component in self.components.values()}
        try:
            inside = [file for folder in folders for file in sorted(folder.iterdir())]
        except OSError as error:
            raise FileMissingError(f"{error.filename} cannot be read: {error.strerror}.") from error
        return [file for file in inside if file.suffix in _READ and not file.name.startswith(".")]

    def tensors(self) -> list[TensorEntry]:
        """The header entries of all tensors."""
        return [tensor for file in self.weights for tensor in read_header(file).tensors.values()]


def is_diffusers_folder(path: Path) -> bool:
    """Whether a folder has a ``model_index.json``."""
    return (path / INDEX_NAME).is_file()


def read_folder(path: Path) -> DiffusersFolder:
    """Read a diffusers folder's index and check each component's files.

    Raises:
        CheckpointInvalidError: The index or a component is missing or damaged.
        CheckpointFamilyError: A component is custom code of the checkpoint, which is never run.
        PickleRefusedError: A component's weights exist as a pickle only.
    """
    index = read_json(path / INDEX_NAME)
    class_name = index.get("_class_name")
    if not isinstance(class_name, str):
        raise CheckpointInvalidError(f"{path / INDEX_NAME} does not name a pipeline class.")
    components = {
        name: _read_component(path, name, value)
        for name, value in index.items()
        if _is_component(name, value)
    }
    options = {name: value for name, value in index.items() if name[0] != "_" and _is_option(value)}
    return DiffusersFolder(path, class_name, options, components)


def read_network_folder(path: Path, name: str, class_name: str) -> ComponentFiles:
    """The files of a network in a folder of its own, with its ``config.json`` and its weights as diffusers saves them.

    Raises:
        CheckpointInvalidError: A file is missing or damaged.
        PickleRefusedError: Its weights exist as a pickle only.
    """
    return _with_weights(ComponentFiles(name, "diffusers", class_name, path))


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointInvalidError: It is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointInvalidError(f"{path} is missing or cannot be read.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointInvalidError(f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointInvalidError(f"{path} holds no JSON object.")
    return value


def _is_component(name: str, value: object) -> bool:
    return name[:1] != "_" and name not in NOT_LOADED and not _is_option(value) and value != [None, None]


def _is_option(value: object) -> bool:
    """Whether an index's value is an option of the pipeline: no list, or one of numbers."""
    return not isinstance(value, list) or (
        bool(value) and all(isinstance(item, int | float) for item in value)
    )


def _read_component(root: Path, name: str, value: object) -> ComponentFiles:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(part, str) for part in value):
        raise CheckpointInvalidError(
            f"{root / INDEX_NAME} has an entry {name!r} that is not a library and a class."
        )
    library, class_name = value
    if library not in _STEMS:
        raise CheckpointFamilyError(
            f"The component {name!r} of {root} is code of the checkpoint's own ({library}.{class_name}), "
            "which is never run.",
            hint="Only classes of diffusers and transformers are loaded.",
        )
    component = ComponentFiles(name, library, class_name, root / name)
    if not component.folder.is_dir() or Path(name).name != name:
        raise CheckpointInvalidError(f"{root} has no folder for its component {name!r}.")
    return _with_weights(component) if component.has_weights else component


def _with_weights(component: ComponentFiles) -> ComponentFiles:
    variant, files = _find_weights_files(component)
    component.config()
    present = {key for file in files for key in read_header(file).tensors}
    if not present:
        raise CheckpointInvalidError(f"The weights of {component.name!r} in {component.folder} are empty.")
    return ComponentFiles(
        component.name, component.library, component.class_name, component.folder, files, variant
    )


def _find_weights_files(component: ComponentFiles) -> tuple[str | None, tuple[Path, ...]]:
    """The variant and the weights files: names without a variant before those with one, single files before shards."""
    stem = _STEMS[component.library]
    for path in sorted(
        component.folder.glob(f"{stem}*.safetensors"), key=lambda path: (len(path.name), path.name)
    ):
        middle = path.name[len(stem) : -len(".safetensors")]
        if middle == "" or (middle[0] == "." and "-of-" not in middle and "." not in middle[1:]):
            return middle[1:] or None, (path,)
    for path in sorted(component.folder.glob(f"{stem}.safetensors.index*.json")):
        variant = path.name.removeprefix(f"{stem}.safetensors.index").removesuffix(".json")
        return variant[1:] or None, _read_shards(path)
    return _refuse_missing_weights(component)


def _read_shards(index: Path) -> tuple[Path, ...]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointInvalidError(f"{index} has no weight_map.")
    headers: dict[str, Header] = {}
    for key, name in places.items():
        shard = index.parent / str(name)
        if Path(str(name)).name != name or not shard.is_file():
            raise CheckpointInvalidError(f"The shard {name} of {index} is missing.")
        headers.setdefault(str(name), read_header(shard))
        if key not in headers[str(name)].tensors:
            raise CheckpointInvalidError(f"The tensor {key} of {index} is not in {name}.")
    return tuple(index.parent / name for name in sorted(headers))


def _refuse_missing_weights(component: ComponentFiles) -> tuple[str | None, tuple[Path, ...]]:
    try:
        names = sorted(path.name for path in component.folder.iterdir())
    except OSError as error:
        raise FileMissingError(f"{component.folder} cannot be read: {error.strerror or error}.") from error
    if pickles := [name for name in names if Path(name).suffix.lower() in PICKLE_SUFFIXES]:
        raise PickleRefusedError(
            f"The component {component.name!r} of {component.folder.parent} has its weights as a pickle only "
            f"({pickles[0]}), which can run any code when opened."
        )
    raise CheckpointInvalidError(
        f"The component {component.name!r} of {component.folder.parent} has no weights.",
        hint=f"There should be a {_STEMS[component.library]}.safetensors in it.",
    )
