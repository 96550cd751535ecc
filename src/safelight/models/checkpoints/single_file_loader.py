"""Load the components of a single file: rename its keys to those of diffusers.

The keys are converted twice: first those of all components with tensors without data, made from the file's header, so
that a missing key or a wrong shape is found before any weights are read; then those of the component that is loaded,
with its weights, one at a time out of the memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.diffusers_layout import read_json
from safelight.models.checkpoints.safetensors_header import TensorEntry, read_header
from safelight.models.checkpoints.single_file import (
    CONFIGS,
    PREFIXES,
    Prediction,
    SingleFile,
    identify_single_file,
)
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.digests import FileVersion, file_version
from safelight.models.tokenizers.clip_vocabulary import END, clip_tokenizer
from safelight.runtime.quantization.tensor import to_precision

Tensors = Mapping[str, torch.Tensor]
ConfigLookup = Callable[[SingleFile], Path]
"""Returns the folder with a file's component configs: a diffusers folder without weights."""

_TEXT_CLASSES = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}


def bundled_configs(single: SingleFile) -> Path:
    """The component configs that are bundled with Safelight."""
    return CONFIGS / single.config_name


class SingleFileLoader:
    """Loads the components of a single-file checkpoint, each by itself.

    Args:
        path: The file.
        configs: Returns the folder with the component configs.

    Raises:
        CheckpointFamilyError, PickleRefusedError, FileMissingError: See ``identify_single_file``.
    """

    def __init__(self, path: Path, configs: ConfigLookup = bundled_configs) -> None:
        self.path = path
        self.single = identify_single_file(path)
        self._folder = configs(self.single)
        self._empty: dict[str, torch.nn.Module] = {}
        self._checked: FileVersion | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its networks."""
        return tuple(PREFIXES[self.single.config_name])

    def entries(self, name: str) -> list[TensorEntry]:
        """The header entries of a component's tensors."""
        prefix = PREFIXES[self.single.config_name][name]
        return [tensor for key, tensor in read_header(self.path).tensors.items() if key.startswith(prefix)]

    def config(self, name: str) -> Mapping[str, object]:
        """The config of a component."""
        return read_json(self._folder / name / "config.json")

    def check(self) -> None:
        """Check the header against all components' networks, once until the file changes; no weights are read.

        Called by one thread at a time, while no other loads: networks without weights are built, for which accelerate
        changes torch globally.

        Raises:
            CheckpointInvalidError: A tensor of any component is missing, or its shape differs from the config's.
            FileMissingError, PickleRefusedError: The file cannot be read; it is a pickle.
        """
        version = file_version(self.path)
        if version != self._checked:
            self._empty = {name: self._build(name) for name in self.names}
            _check_tensors(self.path, self.single, self._empty)
            self._checked = version

    def load(self, name: str, dtype: torch.dtype) -> torch.nn.Module:
        """Load one network; the weights of the others are not read.

        Args:
            name: The component's name.
            dtype: The weights' data type; they are converted one at a time.

        Raises:
            CheckpointInvalidError, FileMissingError, PickleRefusedError: As in ``check``; or the file was changed
                after the check.
        """
        self.check()
        network = self._empty.pop(name, None) or self._build(name)
        prefix = PREFIXES[self.single.config_name][name]
        try:
            keys = [key for key in read_header(self.path).tensors if key.startswith(prefix)]
            tensors = read_tensors(self.path, keys)
            _assign_weights(network, _convert_component(name, network, tensors, prefix), dtype)
        except (KeyError, IndexError, RuntimeError) as error:
            raise CheckpointInvalidError(f"{name} of {self.path} cannot be loaded: {error}.") from error
        return network

    def scheduler(self, unet: torch.nn.Module) -> SchedulerMixin:
        """Build the scheduler; what the U-Net predicts is measured where the file does not state it."""
        prediction = self.single.prediction or probe_prediction(unet)
        return _build_scheduler(self._folder, prediction, self.single.zero_snr)

    def tokenizers(self) -> dict[str, object]:
        """The tokenizers, by the names of a pipeline's components."""
        return {
            name.replace("text_encoder", "tokenizer"): _load_tokenizer(
                self._folder, name, self._padding(name)
            )
            for name in self.names
            if name.startswith("text_encoder")
        }

    def options(self) -> dict[str, object]:
        """The options of the pipeline's index."""
        index = read_json(self._folder / "model_index.json")
        return {name: value for name, value in index.items() if isinstance(value, bool)}

    def _padding(self, encoder: str) -> str:
        """What a tokenizer pads with: as the encoder was trained."""
        config = CLIPTextConfig.from_dict(read_json(self._folder / encoder / "config.json"))
        return "!" if config.pad_token_id == 0 else END

    def _build(self, name: str) -> torch.nn.Module:
        return _build_empty_network(self._folder, name, self.single)


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


def _build_empty_network(folder: Path, name: str, single: SingleFile) -> torch.nn.Module:
    """A component's network without weights, on torch's meta device."""
    config = read_json(folder / name / "config.json")
    with init_empty_weights():
        if name == "unet":
            channels = {"in_channels": 9} if single.family.variant == "inpaint" else {}
            return UNet2DConditionModel.from_config({**config, **channels})
        if name == "vae":
            return AutoencoderKL.from_config(config)
        architectures = config.get("architectures")
        class_name = str(architectures[0]) if isinstance(architectures, list) else "CLIPTextModel"
        return _TEXT_CLASSES[class_name](CLIPTextConfig.from_dict(config))


def _check_tensors(path: Path, single: SingleFile, networks: Mapping[str, torch.nn.Module]) -> None:
    """Refuse a file that lacks a tensor of a component or has it in another shape."""
    header = read_header(path)
    empty = {key: torch.empty(tensor.shape, device="meta") for key, tensor in header.tensors.items()}
    try:
        converted = _convert_components(empty, single, networks)
    except (KeyError, IndexError, RuntimeError) as error:
        raise CheckpointInvalidError(f"{path} is not laid out as its family is: {error}.") from error
    for name, network in networks.items():
        for key, wanted in network.state_dict().items():
            given = converted[name].get(key)
            if given is None:
                raise CheckpointInvalidError(f"{path} lacks a tensor of {name}: {key}.")
            if given.shape != wanted.shape:
                raise CheckpointInvalidError(
                    f"{path} has the tensor {key} of {name} in the shape {list(given.shape)}, not {list(wanted.shape)}."
                )


def _convert_components(
    tensors: Tensors, single: SingleFile, networks: Mapping[str, torch.nn.Module]
) -> dict[str, Tensors]:
    """Each component's tensors by diffusers' names."""
    return {
        name: _convert_component(
            name, network, {key: value for key, value in tensors.items() if key.startswith(prefix)}, prefix
        )
        for (name, prefix), network in zip(
            PREFIXES[single.config_name].items(), networks.values(), strict=True
        )
    }


def _convert_component(name: str, network: torch.nn.Module, tensors: Tensors, prefix: str) -> Tensors:
    if name == "unet":
        return dict(convert_ldm_unet_checkpoint(tensors, network.config))
    if name == "vae":
        return dict(convert_ldm_vae_checkpoint(tensors, network.config))
    if prefix.endswith("transformer."):
        converted = convert_ldm_clip_checkpoint(tensors)
    else:
        converted = convert_open_clip_checkpoint(network, tensors, prefix=prefix)
    if hasattr(network, "text_model"):
        return dict(converted)
    return {key.removeprefix("text_model."): value for key, value in converted.items()}


def _assign_weights(network: torch.nn.Module, tensors: Tensors, dtype: torch.dtype) -> None:
    """Put the weights into a network."""
    wanted = network.state_dict().keys()
    own = {key: to_precision(tensors[key], dtype).contiguous() for key in wanted}
    network.load_state_dict(own, assign=True)


def _load_tokenizer(configs: Path, encoder_name: str, padding: str = END) -> CLIPTokenizer:
    """The configs' own tokenizer if there is one, else CLIP's."""
    folder = configs / encoder_name.replace("text_encoder", "tokenizer")
    if folder.is_dir():
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return clip_tokenizer(padding)


def single_file_scheduler(path: Path, configs: ConfigLookup = bundled_configs) -> dict[str, object]:
    """The scheduler config of a single-file checkpoint, as far as it is known without loading weights.

    ``prediction_type`` is missing for Stable Diffusion 2, whose files do not state what they predict.

    Raises:
        CheckpointFamilyError, PickleRefusedError, FileMissingError: See ``identify_single_file``.
    """
    single = identify_single_file(path)
    config = _scheduler_config(configs(single), single.zero_snr)
    return config | ({"prediction_type": single.prediction} if single.prediction else {})


def single_file_tokenizer(path: Path, configs: ConfigLookup = bundled_configs) -> CLIPTokenizer:
    """The tokenizer of a single-file checkpoint's first text encoder; no weights are read.

    Raises:
        CheckpointFamilyError, PickleRefusedError, FileMissingError: See ``identify_single_file``.
    """
    single = identify_single_file(path)
    return _load_tokenizer(configs(single), single.family.text_encoders[0])


def _scheduler_config(folder: Path, zero_snr: bool) -> dict[str, object]:
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    config.pop("prediction_type", None)
    return config | ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_snr else {})


def _build_scheduler(folder: Path, prediction: Prediction, zero_snr: bool) -> SchedulerMixin:
    import diffusers

    config = _scheduler_config(folder, zero_snr) | {"prediction_type": prediction}
    return getattr(diffusers, str(config["_class_name"])).from_config(config)
