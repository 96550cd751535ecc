"""Load the networks of a checkpoint from weights files, with the names of diffusers and transformers.

The names are converted twice: first with tensors without data, made from the files' headers, so that a missing key or a
wrong shape is found before any weights are read; then those of the network that is loaded, with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import SchedulerMixin, UNet2DConditionModel
from diffusers.pipelines import kolors

from safelight.errors import CheckpointInvalidError, ModelError
from safelight.models.checkpoints.layouts import NETWORKS
from safelight.models.checkpoints.layouts.conversion import convert_with, identity_like
from safelight.models.checkpoints.layouts.layout import Config, Shapes
from safelight.models.checkpoints.layouts.text_encoders import core_names, loading_names
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.safetensors_header import TensorEntry, read_header
from safelight.models.checkpoints.sidecar import (
    given_config,
    given_guider,
    given_options,
    given_scheduler,
)
from safelight.models.checkpoints.single_file import Prediction, SingleFile
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.digests import FileVersion, file_version
from safelight.runtime.quantization.tensor import to_precision

Tensors = dict[str, torch.Tensor]

_LIBRARIES = {"transformers": transformers, "kolors": kolors}
_FAILURES = (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, ZeroDivisionError)
"""What conversions and classes raise for tensors and configs that do not belong to them."""


class PartLoader:
    """Loads one network of a checkpoint from its file.

    Args:
        part: The network and its file.
    """

    def __init__(self, part: PartFile) -> None:
        self.part = part
        self._layout = NETWORKS[part.kind]
        self._config: Config = {}
        self._empty: torch.nn.Module | None = None
        self._checked: FileVersion | None = None
        self._entries: list[TensorEntry] | None = None

    @property
    def config(self) -> Mapping[str, object]:
        """The network's configuration; ``check`` has been called."""
        return self._config

    def take_entries(self) -> list[TensorEntry]:
        """The header entries of its tensors: those that ``check`` read, which are not kept any longer."""
        entries, self._entries = self._entries, None
        return list(self._named_entries().values()) if entries is None else entries

    def check(self) -> None:
        """Check the header against the network, once until the file changes; no weights are read.

        Called by one thread at a time, while no other loads: networks without weights are built, for which accelerate
        changes torch globally.

        Raises:
            CheckpointInvalidError: A tensor is missing, or its shape differs from the configuration's; or the
                configuration cannot be told.
            FileMissingError, PickleRefusedError: The file cannot be read; it is a pickle.
        """
        version = file_version(self.part.path)
        if version != self._checked:
            named = self._named_entries()
            tensors = {name: torch.empty(entry.shape, device="meta") for name, entry in named.items()}
            converted = self._convert(tensors)
            self._config = self._find_config(_shapes(converted))
            network = self._build()
            self._compare(network, self._fit(network, converted))
            self._empty, self._checked, self._entries = network, version, list(named.values())

    def empty(self) -> torch.nn.Module:
        """The network without weights, on torch's meta device; called as ``check`` is."""
        self.check()
        network, self._empty = self._empty or self._build(), None
        return network

    def load(self, dtype: torch.dtype) -> torch.nn.Module:
        """Load the network.

        Args:
            dtype: The weights' data type; they are converted one at a time.

        Raises:
            CheckpointInvalidError, FileMissingError, PickleRefusedError: As in ``check``; or the file was changed
                after the check.
        """
        network = self.empty()
        try:
            self._assign(network, self._read(network), dtype)
        except ModelError:
            raise
        except _FAILURES as error:
            raise CheckpointInvalidError(
                f"{self.part.component} of {self.part.path} cannot be loaded: {error}."
            ) from error
        return network

    def tensors(self) -> Tensors:
        """The network's tensors by the names of the library, as they lie in the file; called as ``check`` is.

        Raises:
            CheckpointInvalidError, FileMissingError, PickleRefusedError: As in ``check``.
        """
        return self._read(self.empty())

    def _read(self, network: torch.nn.Module) -> Tensors:
        prefix = self.part.prefix
        names = {prefix + name: name for name in self._named_entries()}
        tensors = {names[name]: tensor for name, tensor in read_tensors(self.part.path, names).items()}
        return self._fit(network, self._convert(tensors))

    def _named_entries(self) -> dict[str, TensorEntry]:
        prefix = self.part.prefix
        tensors = read_header(self.part.path).tensors
        return {
            name.removeprefix(prefix): entry for name, entry in tensors.items() if name.startswith(prefix)
        }

    def _convert(self, tensors: Tensors) -> Tensors:
        """The tensors by the names of the library."""
        layout = self._layout
        try:
            if layout.has_own_names(tensors):
                convert = layout.convert
                tensors = convert_with(convert, tensors) if isinstance(convert, str) else convert(tensors)
                # diffusers' functions give None for some tensors that are missing
                tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
            return tensors if layout.library == "diffusers" else core_names(tensors)
        except _FAILURES as error:
            raise CheckpointInvalidError(
                f"{self.part.path} is not laid out as {layout.title} is: {error}."
            ) from error

    def _find_config(self, shapes: Shapes) -> Config:
        """The configuration: from the shapes, from the family, and from what is given beside the file or in it."""
        part, layout = self.part, self._layout
        given = self._given_config()
        try:
            derived = layout.config(shapes)
        except _FAILURES as error:
            raise CheckpointInvalidError(
                f"{part.path} lacks a tensor of {part.component}: {error}."
            ) from error
        config = derived | part.fixed_config | given
        if unknown := [name for name in layout.required if not _is_known(config, name)]:
            raise CheckpointInvalidError(
                f"{part.path} is {layout.title} of unusual sizes: its tensors do not tell {', '.join(unknown)}.",
                hint=f"Put the network's config.json beside the file as {part.path.stem}.json, "
                f"or a diffusers folder without weights as {part.path.stem}/.",
            )
        return config

    def _given_config(self) -> Config:
        """A given config, unless it is another network's."""
        given = given_config(self.part.path, self.part.component, self._layout.role) or {}
        class_name = given.get("_class_name")
        own_class = self.part.class_name or self._layout.class_name
        if self._layout.library == "diffusers" and class_name not in (None, own_class):
            return {}
        if self._layout.library != "diffusers" and class_name is not None:
            return {}
        without = ("quantization_config", "architectures", "torch_dtype", "dtype", "transformers_version")
        return {name: value for name, value in given.items() if name not in without}

    def _build(self) -> torch.nn.Module:
        """The network without weights, on torch's meta device."""
        class_name = self.part.class_name or self._layout.class_name
        try:
            with init_empty_weights():
                if self._layout.library == "diffusers":
                    network: torch.nn.Module = getattr(diffusers, class_name).from_config(self._config)
                else:
                    kind = getattr(_LIBRARIES[self._layout.library], class_name)
                    # diffusers' ChatGLM would allocate its weights, also where torch's device is meta
                    options = {"empty_init": False} if self._layout.library == "kolors" else {}
                    network = kind(kind.config_class.from_dict(dict(self._config)), **options)
        except _FAILURES as error:
            raise CheckpointInvalidError(
                f"{self.part.path} gives no {class_name} for {self.part.component}: {error}."
            ) from error
        if class_name == "ChromaTransformer2DModel":
            # diffusers 0.42's ChromaInpaintPipeline reads Flux's option.
            network.register_to_config(guidance_embeds=False)
        return network

    def _fit(self, network: torch.nn.Module, tensors: Tensors) -> Tensors:
        """The tensors by the names that the class has, with those that files leave out; modules without any go."""
        wanted = network.state_dict().keys()
        own = dict(tensors) if self._layout.library == "diffusers" else loading_names(tensors, wanted)
        for module in self._layout.optional_modules:
            if not any(name.startswith(f"{module}.") for name in own):
                parent, _, name = module.rpartition(".")
                setattr(network.get_submodule(parent), name, None)
        if (
            "text_projection.weight" in wanted
            and "text_projection.weight" not in own
            and self._layout.name == "clip"
        ):
            # Stable Diffusion 3 uses CLIP-L without a projection
            model = next(iter(own.values()))
            own["text_projection.weight"] = identity_like(model, int(self._config["hidden_size"]))
        for name, buffer in network.named_buffers():
            if name.endswith("inv_freq") and name in wanted and name not in own:
                own[name] = buffer  # computed by the class; some programs leave it out
        for name, source in _tied(network).items():
            for one, other in ((name, source), (source, name)):
                if one in wanted and one not in own and other in own:
                    own[one] = own[other]
        return own

    def _compare(self, network: torch.nn.Module, tensors: Tensors) -> None:
        """Refuse a file that lacks a tensor of the network or has it in another shape."""
        part = self.part
        for key, wanted in network.state_dict().items():
            given = tensors.get(key)
            if given is None:
                raise CheckpointInvalidError(f"{part.path} lacks a tensor of {part.component}: {key}.")
            if given.shape != wanted.shape:
                raise CheckpointInvalidError(
                    f"{part.path} has the tensor {key} of {part.component} in the shape {list(given.shape)}, "
                    f"not {list(wanted.shape)}."
                )

    def _assign(self, network: torch.nn.Module, tensors: Tensors, dtype: torch.dtype) -> None:
        """Put the weights into the network."""
        precise = getattr(network, "_keep_in_fp32_modules", None) or ()
        precise = set(precise if dtype == torch.float16 else ())

        def convert(name: str) -> torch.Tensor:
            exact = not precise.isdisjoint(name.split("."))
            tensor = tensors[name]
            if not tensor.is_floating_point():
                return tensor
            return to_precision(tensor, torch.float32 if exact else dtype).contiguous()

        network.load_state_dict({name: convert(name) for name in network.state_dict()}, assign=True)
        for name, source in _tied(network).items():
            if name in tensors and tensors[name] is tensors.get(source):
                owner, _, last = name.rpartition(".")
                setattr(network.get_submodule(owner), last, network.get_parameter(source))


def _shapes(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _is_known(config: Mapping[str, Any], name: str) -> bool:
    """Whether a config has a value; a dotted name is one in a nested config."""
    whole, _, inner = name.partition(".")
    value = config.get(whole)
    if not inner:
        return value is not None
    if isinstance(value, Mapping):
        return value.get(inner) is not None or (inner == "rope_scaling" and "rope_parameters" in value)
    return False


def _tied(network: torch.nn.Module) -> Mapping[str, str]:
    """A network's tensors that may be the same as others, by name: files have one of both, or both."""
    tied = getattr(network, "_tied_weights_keys", None)
    return tied if isinstance(tied, Mapping) else {}


class SingleFileLoader:
    """What a checkpoint in files has besides its networks: scheduler and options.

    Args:
        single: The file with the denoiser.
    """

    def __init__(self, single: SingleFile) -> None:
        self.single = single

    @cached_property
    def _given_scheduler(self) -> Config | None:
        return given_scheduler(self.single.path)

    def scheduler_config(self) -> Config:
        """The config of the scheduler, as far as it is known without loading weights.

        ``prediction_type`` is missing for Stable Diffusion 2, whose files do not state what they predict.
        """
        single = self.single
        if self._given_scheduler is not None:
            config = dict(self._given_scheduler)
        else:
            config = single.layout.scheduler(single.family.name)
        if single.edm is not None and self._given_scheduler is None:
            config = _edm_scheduler(*single.edm)
        if single.prediction is not None and (
            self._given_scheduler is None or single.prediction != "epsilon"
        ):
            config["prediction_type"] = single.prediction
        if single.zero_snr and single.edm is None:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return config

    def scheduler(self, denoiser: torch.nn.Module) -> SchedulerMixin:
        """Build the scheduler; what a U-Net predicts is measured where the file does not state it."""
        config = self.scheduler_config()
        if "prediction_type" not in config and isinstance(denoiser, UNet2DConditionModel):
            config["prediction_type"] = probe_prediction(denoiser)
        return getattr(diffusers, str(config["_class_name"])).from_config(config)

    def guiders(self) -> dict[str, object]:
        """The guiders of the pipeline by their component names, for families that have some."""
        configs = self.single.layout.guiders(self.single.family.name)
        guiders = {}
        for name, published in configs.items():
            config = given_guider(self.single.path, name) or published
            guiders[name] = getattr(diffusers, str(published["_class_name"])).from_config(config)
        return guiders

    def options(self) -> dict[str, object]:
        """The options of the pipeline."""
        given = {name: value for name, value in given_options(self.single.path).items() if _is_option(value)}
        family = self.single.family
        edits = family.references is not None and family.references.image_guidance
        cosxl = {"is_cosxl_edit": True} if edits and self.single.edm is not None else {}
        return self.single.layout.options(family.name) | cosxl | given


def _edm_scheduler(least: float, highest: float) -> Config:
    """The scheduler of U-Nets that predict velocity at EDM's noise levels: diffusers' values for CosXL."""
    return {
        "_class_name": "EDMEulerScheduler",
        "num_train_timesteps": 1000,
        "sigma_min": least,
        "sigma_max": highest,
        "sigma_data": 1.0,
    }


def _is_option(value: object) -> bool:
    """Whether an entry of an index is an option: a switch, or a list of numbers such as layers."""
    return isinstance(value, bool) or (
        isinstance(value, list) and bool(value) and all(isinstance(each, int) for each in value)
    )


def probe_prediction(unet: UNet2DConditionModel) -> Prediction:
    """Find out what a U-Net predicts by running it once on nearly pure noise at the last timestep.

    There, a network that predicts the noise returns its input; one that predicts velocity returns the negative of a
    picture, which hardly correlates with the input. Stable Diffusion 2 files do not state which of the two they are.
    """
    config = unet.config
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, config.in_channels, 32, 32, generator=generator).to(unet.device, unet.dtype)
    words = torch.zeros(1, 77, config.cross_attention_dim, device=unet.device, dtype=unet.dtype)
    with torch.no_grad():
        answer = unet(noise, 999, words, return_dict=False)[0].float().flatten()
    asked = noise[:, : config.out_channels].float().flatten()
    return "epsilon" if torch.corrcoef(torch.stack([answer, asked]))[0, 1] > 0.5 else "v_prediction"
