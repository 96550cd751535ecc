"""Load a checkpoint's components into memory, one by one, and build pipelines from them.

Components are loaded once and shared, also by checkpoints that have the same component. Each run gets a new pipeline
with its own scheduler, since neither pipelines nor schedulers are thread-safe. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.pipelines import kolors
from safetensors import SafetensorError

from safelight.errors import BackendError, CheckpointInvalidError
from safelight.models.checkpoints.diffusers_layout import (
    ComponentFiles,
    DiffusersFolder,
    read_folder,
    read_json,
)
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.quantized_folder import is_quantized, load_quantized_network
from safelight.models.checkpoints.safetensors_header import TensorEntry, main_precision, read_header
from safelight.models.checkpoints.sidecar import files_about
from safelight.models.checkpoints.single_file import identify_single_file
from safelight.models.checkpoints.single_file_loader import PartLoader, SingleFileLoader
from safelight.models.digests import FileDigests, combine_digests, combined_digest
from safelight.models.families import TEXT, Family
from safelight.models.families.precision import ComponentPrecisions
from safelight.models.tokenizers.bundled import qwen2_vl_processor
from safelight.models.tokenizers.file_tokenizers import tokenizer_of, tokenizer_of_replacement
from safelight.models.tokenizers.tokenizer_lock import make_thread_safe
from safelight.runtime.allocator import large_blocks_apart
from safelight.runtime.backends import (
    EAGER,
    Backend,
    BackendPlan,
    checkpoint_backend,
    compile_network,
)
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.compilation.releasable_weights import ReleasableWeights
from safelight.runtime.component import Component, ComponentKey, ComponentSource, parameter_names
from safelight.runtime.devices.elsewhere import NetworkElsewhere
from safelight.runtime.devices.placement import ComponentDevices
from safelight.runtime.mapped_pages import MappedPages
from safelight.runtime.memory_plan.exhaustion import is_exhaustion
from safelight.runtime.memory_plan.forms import WHOLE, NetworkForm
from safelight.runtime.quantization.tensor import QuantizedTensor, dequantize_network, stored_nbytes

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers, "kolors": kolors}
_ALWAYS_OFF = {"requires_safety_checker": False, "add_watermarker": False}
"""Pipeline options that are always off: Safelight's own policy and record take their place."""
_ORIGIN = frozenset({"transformers_version", "torch_dtype", "dtype"})
"""Entries of configs on a network's origin, without effect on what it computes."""

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    Args:
        checkpoint: The checkpoint that was loaded.
        networks: Its networks by name.
        tokenizers_and_scheduler: Tokenizers, processors and a template of the scheduler by name.
        options: The pipeline's own options from its index, for example ``force_zeros_for_empty_prompt``.
        tokenizers_digest: What identifies its tokenizers.
    """

    checkpoint: Checkpoint
    networks: Mapping[str, Component]
    tokenizers_and_scheduler: Mapping[str, object]
    options: Mapping[str, object]
    tokenizers_digest: str = ""

    @cached_property
    def components(self) -> Mapping[str, object]:
        """Networks, tokenizers and a template of the scheduler by name, as pipelines take them; shared by all."""
        networks = {name: component.network for name, component in self.networks.items()}
        return networks | dict(self.tokenizers_and_scheduler)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and buffers."""
        return sum(component.nbytes for component in self.networks.values())

    @property
    def family(self) -> Family:
        """The checkpoint's family."""
        return self.checkpoint.family

    @property
    def denoiser(self) -> Component:
        """The U-Net or transformer."""
        return self.networks[self.family.denoiser]

    @property
    def vae(self) -> Component:
        """The autoencoder."""
        return self.networks["vae"]

    @property
    def text_identity(self) -> tuple[object, ...]:
        """What identifies the results of its text encoders: their keys, and the tokenizers."""
        keys = (component.key for name, component in self.networks.items() if name.startswith("text_encoder"))
        return (*keys, self.tokenizers_digest)

    @property
    def scheduler_config(self) -> Mapping[str, object]:
        """The config of the checkpoint's scheduler, which samplers are built from."""
        return dict(self._scheduler.config)

    @property
    def default_side(self) -> int:
        """Default width and height in pixels: those that the denoiser was trained on."""
        sample = getattr(self.denoiser.config, "sample_size", None)
        if not self.family.side_from_config or not isinstance(sample, int):
            return self.family.side
        return sample * pixels_per_latent(self.vae)

    def pipeline(
        self, mode: str = TEXT, scheduler: SchedulerMixin | None = None, class_name: str = ""
    ) -> DiffusionPipeline:
        """Build a new pipeline from the shared components.

        Args:
            mode: text-to-image, image-to-image or inpainting.
            scheduler: The pipeline's scheduler, not used by any other pipeline; by default a new one of the
                checkpoint's class.
            class_name: Another class of diffusers than the family's for this mode.

        Raises:
            UnsupportedError: The family has no such pipeline.
        """
        kind = getattr(diffusers, class_name or self.family.pipeline_name(mode))
        parameters = inspect.signature(kind.__init__).parameters
        own = scheduler or type(self._scheduler).from_config(self._scheduler.config)
        given = {
            **self.components,
            **self.options,
            **_ALWAYS_OFF,
            "scheduler": _with_pipeline_defaults(own, self.family),
        }
        optional = {name: None for name, p in parameters.items() if p.default is inspect.Parameter.empty}
        arguments = optional | {name: value for name, value in given.items() if name in parameters}
        arguments.pop("self", None)
        pipeline = kind(**arguments)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @property
    def _scheduler(self) -> SchedulerMixin:
        return self.tokenizers_and_scheduler["scheduler"]


@dataclass
class CheckpointParts:
    """A checkpoint before its weights are read: its networks can be loaded one by one.

    Args:
        checkpoint: The checkpoint.
        digest: ``Checkpoint.digest``.
        sources: Its networks by name.
        files: Where scheduler and options are read from.
        tokenizers_digest: What identifies its tokenizers.
        tokenizers_and_scheduler: Its tokenizers, processors and scheduler by name; the scheduler of a single file is
            added by ``assemble``.
        part_digests: The SHA-256 of each file beside the checkpoint's own, by the component that is read from it.
    """

    checkpoint: Checkpoint
    digest: str
    sources: Mapping[str, ComponentSource]
    files: DiffusersFolder | SingleFileLoader
    tokenizers_digest: str
    tokenizers_and_scheduler: dict[str, object]
    part_digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> frozenset[ComponentKey]:
        """What identifies its networks."""
        return frozenset(source.key for source in self.sources.values())

    def assemble(self, components: Sequence[Component]) -> LoadedCheckpoint:
        """The checkpoint with its networks loaded, in the order of the sources. Called by one thread at a time."""
        networks, others = dict(zip(self.sources, components, strict=True)), self.tokenizers_and_scheduler
        if not isinstance(self.files, SingleFileLoader):
            options = _index_options(self.files)
        else:
            options = self.files.options()
            others["scheduler"] = self.scheduler(networks[self.checkpoint.family.denoiser].network)
        return LoadedCheckpoint(self.checkpoint, networks, others, options, self.tokenizers_digest)

    def scheduler(self, denoiser: torch.nn.Module) -> Any:
        """The checkpoint's scheduler; what a single file's U-Net predicts is measured if the file does not say it."""
        if isinstance(self.files, SingleFileLoader) and "scheduler" not in self.tokenizers_and_scheduler:
            return self.files.scheduler(denoiser)
        return self.tokenizers_and_scheduler["scheduler"]


def scheduler_config(checkpoint: Checkpoint) -> Mapping[str, object]:
    """Read the config of a checkpoint's scheduler from disk; no weights are read.

    Raises:
        CheckpointInvalidError: It is missing or damaged.
    """
    if checkpoint.kind == "file":
        return SingleFileLoader(identify_single_file(checkpoint.path)).scheduler_config()
    return read_json(checkpoint.path / "scheduler" / "scheduler_config.json")


def load_tokenizer(checkpoint: Checkpoint) -> object | None:
    """Load the tokenizer of a checkpoint's first text encoder, without weights; None if there is none.

    Raises:
        CheckpointInvalidError: The tokenizer cannot be read.
    """
    if checkpoint.kind == "file":
        first = next((part for part in checkpoint.parts if part.component.startswith("text_encoder")), None)
        return None if first is None else make_thread_safe(tokenizer_of(first, checkpoint.path))
    name = checkpoint.family.text_encoders[0].replace("text_encoder", "tokenizer")
    component = read_folder(checkpoint.path).components.get(name)
    return None if component is None else make_thread_safe(_load_without_weights(component))


def pixels_per_latent(vae: object) -> int:
    """Width of a latent in pixels, from an autoencoder's config."""
    config = vae.config  # type: ignore[attr-defined]
    for name in ("block_out_channels", "encoder_block_out_channels"):
        if name in config:
            return int(2 ** (len(config[name]) - 1))
    return int(2 ** len(config["temperal_downsample"]))


def describe_parts(
    checkpoint: Checkpoint,
    precision: str | ComponentPrecisions = "fp32",
    device: str | torch.device | ComponentDevices = "cpu",
    *,
    backend: str = EAGER,
    cache: Path | None = None,
    digests: FileDigests | None = None,
    within: Context = nullcontext,
    forms: Mapping[str, NetworkForm] = MappingProxyType({}),
) -> CheckpointParts:
    """Describe a checkpoint's components, so that each can be loaded by itself; no weights are kept in memory.

    Tokenizers and scheduler are read, and a single file's header is checked. Then the weights files are hashed if
    their digests are not known. A network whose files have changed since is not loaded.

    Args:
        checkpoint: A checkpoint from ``discovery.find_checkpoint``.
        precision: The weights' precision: fp32, bf16 or fp16, or that of each component.
        device: The weights' device, or that of each component.
        backend: What computes the networks; those that it does not compile stay eager.
        cache: The cache folder of digests and compiled networks; None caches nothing.
        digests: Digests of weights files; by default those in the cache folder.
        within: A context such as a lock, in which tokenizers and networks are loaded, but nothing is hashed.
        forms: How the weights of networks are kept, by the network's name, where that is not whole on the device.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
        BackendError: There is no such backend, it does not run checkpoints in this precision, or it computes none of
            this checkpoint's networks.
    """
    silence_libraries()
    loader = _NetworkLoader(
        ComponentPrecisions.uniform(precision) if isinstance(precision, str) else precision,
        device if isinstance(device, ComponentDevices) else ComponentDevices.uniform(torch.device(device)),
        checkpoint_backend(backend),
        cache,
        digests or FileDigests(cache),
        within,
        forms,
    )
    if checkpoint.kind == "file":
        return _describe_file(checkpoint, loader)
    return _describe_folder(checkpoint, loader)


def load_checkpoint(
    checkpoint: Checkpoint,
    precision: str | ComponentPrecisions = "fp32",
    device: str | torch.device = "cpu",
) -> LoadedCheckpoint:
    """Load all components of a checkpoint, outside any pool.

    The arguments and errors are those of ``describe_parts``.

    Raises:
        CheckpointInvalidError: A tensor is missing or has the wrong shape, or a tokenizer or scheduler cannot be read.
    """
    parts = describe_parts(checkpoint, precision, device)
    return parts.assemble([source.load() for source in parts.sources.values()])


def network_source(
    network: PartFile | ComponentFiles,
    precision: str,
    device: torch.device,
    digests: FileDigests,
    cache: Path | None = None,
) -> ComponentSource:
    """The source of a network that belongs to no checkpoint, such as a ControlNet; it is computed eagerly.

    Called by one thread at a time: the network of a single file is built without weights, to check the header.

    Args:
        network: Its file, or its folder in diffusers' layout.
        precision: The weights' precision: fp32, bf16 or fp16.
        device: Where it is kept.
        digests: Digests of weights files.
        cache: The cache folder.

    Raises:
        CheckpointInvalidError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    silence_libraries()
    loader = _NetworkLoader(
        ComponentPrecisions.uniform(precision),
        ComponentDevices.uniform(device),
        checkpoint_backend(EAGER),
        cache,
        digests,
        nullcontext,
        {},
    )
    if isinstance(network, ComponentFiles):
        return _component_source(network, loader, partial(_read_class, network))
    part = PartLoader(network)
    part.check()
    return _part_source(part, loader)


def empty_networks(checkpoint: Checkpoint) -> dict[str, torch.nn.Module]:
    """A checkpoint's networks by name, on torch's meta device; nothing is hashed, and no weights are read.

    Called by one thread at a time.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    silence_libraries()
    given = {name: part.empty() for name, part in _part_loaders(checkpoint.parts).items()}
    if checkpoint.kind == "file":
        return given
    components = read_folder(checkpoint.path).components.values()
    found = {
        files.name: _build_empty(files)
        for files in components
        if files.has_weights and files.name not in given
    }
    return found | given


@dataclass(frozen=True)
class _NetworkLoader:
    """How networks are loaded: their precisions, devices and backend, and the context in which they are loaded."""

    precisions: ComponentPrecisions
    devices: ComponentDevices
    backend: Backend
    cache: Path | None
    digests: FileDigests
    within: Context
    forms: Mapping[str, NetworkForm]

    def check_backend(self, checkpoint: Checkpoint, names: Sequence[str]) -> None:
        """Refuse a backend that would leave all networks eager.

        Args:
            checkpoint: The checkpoint.
            names: The names of its networks.

        Raises:
            BackendError: The backend computes none of them.
        """
        if not any(self.backend.computes(name) for name in names):
            raise BackendError(
                f"{self.backend.name} computes none of the networks of {checkpoint.name}: "
                f"it is for {', '.join(self.backend.components)}; the checkpoint has {', '.join(names)}.",
                hint=f"Choose another checkpoint, or set generation_backend to {EAGER}.",
            )

    def source(
        self,
        name: str,
        identify: Callable[[], str],
        config: Mapping[str, object],
        tensors: list[TensorEntry],
        read: Callable[[torch.dtype], torch.nn.Module],
    ) -> ComponentSource:
        """The source of a network.

        Args:
            name: The component's name.
            identify: Returns what identifies its weights and configuration as its files are now.
            config: Its config.
            tensors: The header entries of its tensors.
            read: Reads it, given the data type.
        """
        precision = self.precisions.of(name, config)
        wanted = self.backend.name if self.backend.computes(name) else EAGER
        backend = checkpoint_backend(wanted, precision)
        form = self.forms.get(name, WHOLE)
        key = ComponentKey(
            identify(), precision, backend.name, form=form.name, device=self.devices.elsewhere(name)
        )
        if form != WHOLE:
            stored = DTYPES.get(main_precision(tensors), DTYPES[precision])
            load = partial(self._load_form, name, key, form, identify, partial(read, stored))
            return ComponentSource(key, form.nbytes, load)
        itemsize = int(DTYPES[precision].itemsize)
        packed = backend.name == EAGER
        nbytes = sum(tensor.loaded_nbytes(itemsize, packed=packed) for tensor in tensors)
        return ComponentSource(key, nbytes, lambda: self._load(name, key, backend, identify, read))

    def _load(
        self,
        name: str,
        key: ComponentKey,
        backend: Backend,
        identify: Callable[[], str],
        read: Callable[[torch.dtype], torch.nn.Module],
    ) -> Component:
        """Load a network, if its files are those that its key was made from, before and after they are read."""
        _check_unchanged(name, key, identify)

        def read_whole() -> torch.nn.Module:
            network = read(DTYPES[key.dtype])
            _keep_precision(network)
            _copy_mapped_weights(network)
            if backend.name != EAGER:
                dequantize_network(network)
            return network.requires_grad_(False).eval().to(self.devices.of(name))

        def read_again() -> torch.nn.Module:
            _check_unchanged(name, key, identify)
            with large_blocks_apart():
                network = read_whole()
            _check_unchanged(name, key, identify)
            return network

        with self.within(), large_blocks_apart():
            network = read_whole()
            tensors = (*network.parameters(), *network.buffers())
            nbytes = sum(stored_nbytes(tensor) for tensor in tensors)
            parameters = parameter_names(network)  # what a backend makes of it may have another signature
            plan = BackendPlan(backend.name, key.dtype, torch.get_num_threads())
            compiled = compile_network(network, plan, self.cache)
            is_plain = not any(isinstance(tensor, QuantizedTensor) for tensor in tensors)
            is_plain = is_plain and compiled is network and not key.device
            weights = ReleasableWeights(network, read_again) if is_plain else None
            reachable = self._reachable(name, compiled)
            component = Component(key, reachable, nbytes, parameters, backend.patchable, weights=weights)
        _check_unchanged(name, key, identify)
        return component

    def _load_form(
        self,
        name: str,
        key: ComponentKey,
        form: NetworkForm,
        identify: Callable[[], str],
        read: Callable[[], torch.nn.Module],
    ) -> Component:
        """Load a network in a form other than whole; see ``_load``.

        It is read as it is stored, and converted weight by weight: there is never a second copy of all weights.
        """
        _check_unchanged(name, key, identify)
        with self.within(), large_blocks_apart():
            network = read().requires_grad_(False).eval()
            _keep_precision(network)
            parameters = parameter_names(network)
            nbytes = form.keep(network, DTYPES[key.dtype], self.devices.of(name))
            component = Component(key, self._reachable(name, network), nbytes, parameters)
        _check_unchanged(name, key, identify)
        return component

    def _reachable(self, name: str, network: Any) -> Any:
        """A network, or what moves its calls to it where it is not on the denoiser's device."""
        if not self.devices.elsewhere(name):
            return network
        return NetworkElsewhere(network, self.devices.of(name), self.devices.denoiser)


def _describe_file(checkpoint: Checkpoint, loader: _NetworkLoader) -> CheckpointParts:
    single = identify_single_file(checkpoint.path)
    parts = {part.component: part for part in checkpoint.parts}
    loader.check_backend(checkpoint, list(parts))
    with loader.within():
        sources = _part_loaders(checkpoint.parts)
        tokenizers = {
            name: make_thread_safe(tokenizer_of(parts[encoder], single.path))
            for encoder, name in _tokenizer_names(checkpoint.family).items()
            if encoder in parts
        }
    files = SingleFileLoader(single)
    return CheckpointParts(
        checkpoint,
        loader.digests.digest(checkpoint.path),
        {name: _part_source(part, loader) for name, part in sources.items()},
        files,
        _tokenizers_digest(checkpoint, loader),
        tokenizers | _processors(checkpoint.family, tokenizers) | files.guiders(),
        _part_digests(checkpoint, loader),
    )


def _processors(family: Family, tokenizers: Mapping[str, object]) -> dict[str, object]:
    """The processors of text encoders that see pictures, around their tokenizers."""
    names = () if family.references is None else family.references.components
    return {name: make_thread_safe(qwen2_vl_processor(next(iter(tokenizers.values())))) for name in names}


def _part_loaders(parts: Iterable[PartFile]) -> dict[str, PartLoader]:
    """Loaders of networks in weights files, whose headers are checked."""
    loaders = {part.component: PartLoader(part) for part in parts}
    for each in loaders.values():
        each.check()
    return loaders


def _part_source(part: PartLoader, loader: _NetworkLoader) -> ComponentSource:
    return loader.source(
        part.part.component,
        partial(_part_digest, part, loader.digests),
        part.config,
        part.take_entries(),
        part.load,
    )


def _component_source(
    files: ComponentFiles, loader: _NetworkLoader, read: Callable[[torch.dtype], torch.nn.Module]
) -> ComponentSource:
    return loader.source(
        files.name,
        partial(_component_digest, files, loader.digests),
        files.config(),
        [tensor for file in files.weights for tensor in read_header(file).tensors.values()],
        read,
    )


def _part_digests(checkpoint: Checkpoint, loader: _NetworkLoader) -> dict[str, str]:
    return {
        part.component: loader.digests.digest(part.path)
        for part in checkpoint.parts
        if part.path != checkpoint.path
    }


def _tokenizer_names(family: Family) -> Mapping[str, str]:
    """The component names of a family's tokenizers, by those of their text encoders."""
    return dict(zip(family.text_encoders, family.tokenizer_names, strict=True))


def _tokenizers_digest(checkpoint: Checkpoint, loader: _NetworkLoader) -> str:
    """What identifies the tokenizers of a file: those of its family, and what lies beside the files."""
    files = _tokenizer_files(checkpoint.parts)
    return _hash(checkpoint.family.key, *(loader.digests.digest(file) for file in files))


def _tokenizer_files(parts: Iterable[PartFile]) -> list[Path]:
    """The files that may hold the tokenizers of networks in files, and those that were pulled for them."""
    found = [file for part in parts for file in (*files_about(part.path), *part.tokenizer_files)]
    return list(dict.fromkeys(found))


def _describe_folder(checkpoint: Checkpoint, loader: _NetworkLoader) -> CheckpointParts:
    folder = read_folder(checkpoint.path)
    replaced = {part.component for part in checkpoint.parts}
    all_networks = [files for files in folder.components.values() if files.has_weights]
    networks = [files for files in all_networks if files.name not in replaced]
    loader.check_backend(checkpoint, [files.name for files in all_networks])
    others = [files for files in folder.components.values() if not files.has_weights]
    with loader.within():
        part_loaders = _part_loaders(checkpoint.parts)
        tokenizers_and_scheduler = {
            files.name: make_thread_safe(_load_without_weights(files)) for files in others
        }
        tokenizers_and_scheduler |= _tokenizers_of_replaced(checkpoint, tokenizers_and_scheduler)
    digests = {file: loader.digests.digest(file) for files in all_networks for file in files.weights}
    own = {
        files.name: _component_source(files, loader, partial(_read_network, files, checkpoint.family))
        for files in networks
    }
    given = {name: _part_source(part, loader) for name, part in part_loaders.items()}
    sources = {files.name: (own | given)[files.name] for files in all_networks} | given
    tokenizers = (file for file in checkpoint.configs if file.parent.name.startswith("tokenizer"))
    tokenizers_digest = combined_digest(tokenizers, loader.cache)
    if replaced_encoders := [part for part in checkpoint.parts if part.component != "vae"]:
        more = (loader.digests.digest(file) for file in _tokenizer_files(replaced_encoders))
        tokenizers_digest = _hash(tokenizers_digest, *more)
    return CheckpointParts(
        checkpoint,
        combine_digests(digests.items()),
        sources,
        folder,
        tokenizers_digest,
        tokenizers_and_scheduler,
        _part_digests(checkpoint, loader),
    )


def _tokenizers_of_replaced(checkpoint: Checkpoint, own: Mapping[str, object]) -> dict[str, object]:
    """The tokenizers that lie beside text encoders which take the place of a folder's, by component name."""
    found = {}
    names = _tokenizer_names(checkpoint.family)
    for part in checkpoint.parts:
        if part.component in names:
            name = names[part.component]
            if (tokenizer := tokenizer_of_replacement(part, own.get(name))) is not None:
                found[name] = make_thread_safe(tokenizer)
    return found


def _build_empty(files: ComponentFiles) -> torch.nn.Module:
    """The network of a folder's component without weights; called by one thread at a time."""

    def build(kind: Any) -> torch.nn.Module:
        config = dict(files.config())
        if files.library == "diffusers":
            return kind.from_config(config)
        return kind(kind.config_class.from_dict(config))

    with init_empty_weights():
        network: torch.nn.Module = _load_with(files, build)
    return network


def _check_unchanged(name: str, key: ComponentKey, identify: Callable[[], str]) -> None:
    """Refuse files with other contents: the key, and so the record, would name another network."""
    if identify() != key.digest:
        raise CheckpointInvalidError(
            f"The component {name!r} was replaced on the disk while its checkpoint was in use.",
            hint="Ask again: a new request uses the new files.",
        )


def _part_digest(part: PartLoader, digests: FileDigests) -> str:
    """What identifies a network in a weights file: the file, which of its networks it is, its class and its config."""
    file = part.part
    config = json.dumps(dict(part.config), sort_keys=True, default=str)
    return _hash("file", digests.digest(file.path), file.prefix, file.kind, file.class_name, config)


def _component_digest(files: ComponentFiles, digests: FileDigests) -> str:
    """What identifies a network: its weights, its class, and its configuration without notes on its origin.

    The version of diffusers that saved it counts: Stable Diffusion's pipelines correct the sizes of old U-Nets.
    """
    weights = [digests.digest(file) for file in files.weights]
    config = {
        name: value
        for name, value in files.config().items()
        if name == "_diffusers_version" or (not name.startswith("_") and name not in _ORIGIN)
    }
    return _hash(files.library, files.class_name, json.dumps(config, sort_keys=True), *weights)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def silence_libraries() -> None:
    """Keep the libraries from writing to standard error; their errors arrive as exceptions."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity(logging.ERROR)
        library.utils.logging.disable_progress_bar()
    # Deprecations inside the libraries, which Safelight cannot fix.
    for module in (r"diffusers\.", r"transformers\."):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)
    # Kandinsky 5's transformer normalizes in fp32 with weights in bf16.
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
    # diffusers' ChatGLM causes the same kind of warning from torch when a Kolors is first loaded.
    warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)


def _load_without_weights(files: ComponentFiles) -> object:
    """Load a tokenizer, a processor or a scheduler."""
    return _load_with(files, lambda kind: kind.from_pretrained(files.folder, local_files_only=True))


def _read_network(files: ComponentFiles, family: Family, dtype: torch.dtype) -> torch.nn.Module:
    """Read the network of a folder."""
    network = _read_class(files, dtype)
    if family.key == "chroma" and files.name == "transformer":
        # diffusers 0.42's ChromaInpaintPipeline reads Flux's option.
        network.register_to_config(guidance_embeds=False)
    return network


def _read_class(files: ComponentFiles, dtype: torch.dtype) -> torch.nn.Module:
    network: torch.nn.Module = _load_with(files, lambda kind: _load_network(files, kind, dtype))
    return network


def _load_with(files: ComponentFiles, load: Callable[[Any], Any]) -> Any:
    """Load a component with its class; the libraries' errors become ours."""
    kind = getattr(_LIBRARIES[files.library], files.class_name, None)
    if kind is None:
        raise CheckpointInvalidError(
            f"The component {files.name!r} is a {files.class_name}, which {files.library} does not have."
        )
    try:
        return load(kind)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
        CheckpointInvalidError,
    ) as error:
        if is_exhaustion(error):
            raise
        raise CheckpointInvalidError(
            f"The component {files.name!r} of {files.folder.parent} cannot be loaded: {_first_line(error)}"
        ) from error


def _load_network(files: ComponentFiles, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
    if is_quantized(files):
        return load_quantized_network(files, kind, dtype)
    network, report = kind.from_pretrained(
        files.folder,
        dtype=dtype,
        variant=files.weights_variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} tensors, {missing[0]} among them.")
    if mismatched := report.get("mismatched_keys"):
        key, given, wanted = next(iter(mismatched))
        raise ValueError(f"the tensor {key} has the shape {list(given)}, not {list(wanted)}.")
    loaded: torch.nn.Module = network
    return loaded


def _keep_precision(network: torch.nn.Module) -> None:
    """Keep pipelines from converting an autoencoder in place while they use it: it is shared, and has a precision."""
    if getattr(getattr(network, "config", None), "force_upcast", False):
        network.register_to_config(force_upcast=False)


def _copy_mapped_weights(network: torch.nn.Module) -> None:
    """Copy weights that are views of a memory-mapped file: truncating the file later would kill the process.

    Views of anything larger are copied too, so that no more than the weights stays in memory. Weights that were
    converted while they were read are copies already, as are quantized ones.
    """
    pages = MappedPages()
    for tensor in (*network.parameters(), *network.buffers()):
        if isinstance(tensor, QuantizedTensor):
            continue
        given = tensor.data
        if given.untyped_storage().nbytes() > given.nbytes or pages.may_hold(given):
            tensor.data = given.clone()
            pages.release(given)


def _index_options(folder: DiffusersFolder) -> dict[str, object]:
    return {name: value for name, value in folder.options.items() if name not in folder.components}


def _with_pipeline_defaults(scheduler: SchedulerMixin, family: Family) -> SchedulerMixin:
    """Set the options that Stable Diffusion's pipelines would otherwise correct with a warning each time."""
    if family.text_encoding == "clip":
        for name, value in (("steps_offset", 1), ("clip_sample", False)):
            if name in scheduler.config and scheduler.config[name] != value:
                scheduler.register_to_config(**{name: value})
    return scheduler


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
