"""Load a checkpoint's components into memory, and build pipelines from them.

Components are loaded once and shared. Each run gets a new pipeline with its own scheduler, since neither pipelines nor
schedulers are thread-safe. Nothing here uses the network.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.pipelines import kolors

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.diffusers_layout import Component, DiffusersFolder, read_folder, read_json
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.single_file_loader import (
    ConfigLookup,
    bundled_configs,
    load_single_file,
    single_file_scheduler,
    single_file_tokenizer,
)
from safelight.models.families import TEXT, Family
from safelight.models.tokenizers.tokenizer_lock import make_thread_safe

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers, "kolors": kolors}
_ALWAYS_OFF = {"requires_safety_checker": False, "add_watermarker": False}
"""Pipeline options that are always off: Safelight's own policy and record take their place."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    Args:
        checkpoint: The checkpoint that was loaded.
        components: Networks, tokenizers and a template of the scheduler by name; shared by all pipelines.
        options: The pipeline's own options from its index, for example ``force_zeros_for_empty_prompt``.
        nbytes: Bytes of all weights and buffers.
    """

    checkpoint: Checkpoint
    components: Mapping[str, object]
    options: Mapping[str, object]
    nbytes: int

    @property
    def family(self) -> Family:
        """The checkpoint's family."""
        return self.checkpoint.family

    @property
    def scheduler_config(self) -> Mapping[str, object]:
        """The config of the checkpoint's scheduler, which samplers are built from."""
        return dict(self._scheduler.config)

    @property
    def default_side(self) -> int:
        """Default width and height in pixels: those that the denoiser was trained on."""
        vae = self.components["vae"]
        sample = getattr(self.components[self.family.denoiser].config, "sample_size", None)  # type: ignore[attr-defined]
        if not self.family.side_from_config or not isinstance(sample, int):
            return self.family.side
        return sample * pixels_per_latent(vae)

    def pipeline(self, mode: str = TEXT, scheduler: SchedulerMixin | None = None) -> DiffusionPipeline:
        """Build a new pipeline from the shared components.

        Args:
            mode: text-to-image, image-to-image or inpainting.
            scheduler: The pipeline's scheduler, not used by any other pipeline; by default a new one of the
                checkpoint's class.

        Raises:
            UnsupportedError: The family has no such pipeline.
        """
        kind = getattr(diffusers, self.family.pipeline_name(mode))
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
        return self.components["scheduler"]


def scheduler_config(
    checkpoint: Checkpoint, *, configs: ConfigLookup = bundled_configs
) -> Mapping[str, object]:
    """Read the config of a checkpoint's scheduler from disk; no weights are read.

    Raises:
        CheckpointInvalidError: It is missing or damaged.
    """
    if checkpoint.kind == "file":
        return single_file_scheduler(checkpoint.path, configs)
    return read_json(checkpoint.path / "scheduler" / "scheduler_config.json")


def load_tokenizer(checkpoint: Checkpoint, *, configs: ConfigLookup = bundled_configs) -> object | None:
    """Load the tokenizer of a checkpoint's first text encoder, without weights; None if there is none.

    Raises:
        CheckpointInvalidError: The tokenizer cannot be read.
    """
    if checkpoint.kind == "file":
        tokenizer: object = single_file_tokenizer(checkpoint.path, configs)
        return make_thread_safe(tokenizer)
    name = checkpoint.family.text_encoders[0].replace("text_encoder", "tokenizer")
    component = read_folder(checkpoint.path).components.get(name)
    return None if component is None else make_thread_safe(_load_component(component, torch.float32))


def pixels_per_latent(vae: object) -> int:
    """Width of a latent in pixels, from an autoencoder's config."""
    config = vae.config  # type: ignore[attr-defined]
    for name in ("block_out_channels", "encoder_block_out_channels"):
        if name in config:
            return int(2 ** (len(config[name]) - 1))
    return int(2 ** len(config["temperal_downsample"]))


def load_checkpoint(
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    configs: ConfigLookup = bundled_configs,
) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        checkpoint: A checkpoint from ``discovery.find_checkpoint``.
        dtype: The weights' data type; they are converted one tensor at a time.
        device: The weights' device.
        configs: Returns the folder with a single file's component configs.

    Raises:
        CheckpointInvalidError: A tensor is missing or has the wrong shape, or a tokenizer or scheduler cannot be read.
        CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    silence_libraries()
    options: Mapping[str, object]
    if checkpoint.kind == "file":
        parts = load_single_file(checkpoint.path, dtype, configs)
        options = {name: value for name, value in parts.items() if isinstance(value, bool)}
    else:
        folder = read_folder(checkpoint.path)
        parts = {name: _load_component(component, dtype) for name, component in folder.components.items()}
        options = _index_options(folder)
    components = {name: make_thread_safe(value) for name, value in parts.items() if name not in options}
    if checkpoint.family.key == "chroma":  # diffusers 0.42's ChromaInpaintPipeline reads Flux's option
        components["transformer"].register_to_config(guidance_embeds=False)  # type: ignore[attr-defined]
    for network in _networks(components):
        _copy_mapped_weights(network)
        network.requires_grad_(False).eval().to(device)
    return LoadedCheckpoint(
        checkpoint, components, options, sum(_count_bytes(network) for network in _networks(components))
    )


def silence_libraries() -> None:
    """Keep the libraries from writing to standard error; their errors arrive as exceptions."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity(logging.ERROR)
        library.utils.logging.disable_progress_bar()
    # Deprecations inside the libraries, which Safelight cannot fix.
    for module in (r"diffusers\.", r"transformers\."):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)
    # diffusers' ChatGLM causes the same kind of warning from torch when a Kolors is first loaded.
    warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)


def _load_component(component: Component, dtype: torch.dtype) -> object:
    kind = getattr(_LIBRARIES[component.library], component.class_name, None)
    if kind is None:
        raise CheckpointInvalidError(
            f"The component {component.name!r} is a {component.class_name}, which {component.library} does not have."
        )
    try:
        if not component.has_weights:
            return kind.from_pretrained(component.folder, local_files_only=True)
        return _load_network(component, kind, dtype)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointInvalidError(
            f"The component {component.name!r} of {component.folder.parent} cannot be loaded: {_first_line(error)}"
        ) from error


def _load_network(component: Component, kind: type, dtype: torch.dtype) -> torch.nn.Module:
    network, report = kind.from_pretrained(  # type: ignore[attr-defined]
        component.folder,
        dtype=dtype,
        variant=component.weights_variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} tensors, {missing[0]} among them.")
    if mismatched := report.get("mismatched_keys"):
        key, given, wanted = next(iter(mismatched))
        raise ValueError(f"the tensor {key} has the shape {list(given)}, not {list(wanted)}.")
    return network


def _copy_mapped_weights(network: torch.nn.Module) -> None:
    """Copy weights that are views of a memory-mapped file: truncating the file later would kill the process."""
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _index_options(folder: DiffusersFolder) -> dict[str, object]:
    return {name: value for name, value in folder.options.items() if name not in folder.components}


def _with_pipeline_defaults(scheduler: SchedulerMixin, family: Family) -> SchedulerMixin:
    """Set the options that Stable Diffusion's pipelines would otherwise correct with a warning each time."""
    if family.text_encoding == "clip":
        for name, value in (("steps_offset", 1), ("clip_sample", False)):
            if name in scheduler.config and scheduler.config[name] != value:
                scheduler.register_to_config(**{name: value})
    return scheduler


def _networks(components: Mapping[str, object]) -> list[torch.nn.Module]:
    return [component for component in components.values() if isinstance(component, torch.nn.Module)]


def _count_bytes(network: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
