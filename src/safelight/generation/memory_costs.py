"""What a picture takes of the memory: weights and activations of each stage, counted without computing anything.

The family's own pipeline runs, with stand-ins in place of its networks: they count a call at its real size
(``runtime.memory_plan.counter``) and return ones of the right shape. So every family, mode and size is counted with
the calls that its pipeline really makes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import torch
from PIL import Image
from torch import nn
from torch.utils._pytree import tree_leaves

from safelight.generation.autoencoder import decodes_with_mask
from safelight.generation.canvas.references import fit_references
from safelight.generation.denoising import DenoisingPass
from safelight.generation.memory_tiling import TILE
from safelight.generation.modifiers.seamless import CircularConvolutions
from safelight.generation.noise import make_generator
from safelight.generation.plan import Plan, executed_steps
from safelight.generation.previews import LatentToRGB
from safelight.generation.request import Mode
from safelight.generation.solvers.samplers import build_scheduler
from safelight.generation.stub_tokenizer import StubTokenizer
from safelight.models.checkpoints.loading import LoadedCheckpoint, pixels_per_latent
from safelight.models.families import Family
from safelight.models.families.precision import ComponentPrecisions
from safelight.models.tokenizers.bundled import siglip2_processor
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.component import Component, ComponentKey, parameter_names
from safelight.runtime.memory_plan.blocks import bytes_outside_blocks, largest_block, module_bytes
from safelight.runtime.memory_plan.counter import Attention, FakeNetwork, replace_tensors
from safelight.runtime.memory_plan.planner import ComponentCost, PictureCost, StageCost
from safelight.runtime.quantization.tensor import QuantizedTensor

CPU_SLACK = 128 * 2**20
"""Bytes that the C library's allocator keeps beside what is in use, on CPUs: 60 to 130 MB were measured."""
INT8_GROUP = 64
"""How many weights have a scale of their own in eight bits."""
_ENCODE, _DECODE, _CALL = "encode", "decode", "__call__"
Peaks = dict[tuple[str, str], int]
"""Bytes by the component's name and the method."""


def count_picture(
    networks: Mapping[str, nn.Module],
    plan: Plan,
    precisions: ComponentPrecisions,
    kind: str,
    scheduler: Mapping[str, object],
    *,
    options: Mapping[str, object] | None = None,
    fused_attention: bool = True,
) -> PictureCost:
    """Count what a picture takes.

    Args:
        networks: The checkpoint's networks by name, with or without weights; they are not changed.
        plan: What is generated.
        precisions: The precision of each network.
        kind: The kind of device, such as cpu or cuda.
        scheduler: The config of the checkpoint's scheduler.
        options: The pipeline's options from the checkpoint's index.
        fused_attention: Whether the device has a fused kernel of attention.
    """
    counted = _Counted(plan.family, kind == "cpu", precisions, scheduler, options or {})
    peaks = counted.peaks(networks, plan, "fused" if fused_attention else "matrix")
    sliced = {} if fused_attention else counted.peaks(networks, plan, "sliced")
    components = {
        name: _component_cost(network, precision_of(name, network, precisions), quantizable=name != "vae")
        for name, network in networks.items()
    }
    stages = []
    for (name, method), peak in peaks.items():
        stage = {_ENCODE: "encode", _DECODE: "decode"}.get(method, name)
        calls = 1
        if name == plan.family.denoiser:
            stage, calls = "denoise", _denoiser_calls(plan)
        tiled = counted.tiled.get((name, method))
        smaller = sliced.get((name, method))
        stages.append(
            StageCost(
                stage,
                name,
                peak,
                sliced=smaller if smaller is not None and smaller < peak else None,
                tiled=tiled if tiled is not None and tiled < peak else None,
                calls=calls,
            )
        )
    return PictureCost(precisions.denoiser, components, tuple(stages), CPU_SLACK if kind == "cpu" else 0)


def precision_of(name: str, network: nn.Module, precisions: ComponentPrecisions) -> torch.dtype:
    """The data type that a network is loaded in."""
    config = network.config
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return DTYPES[precisions.of(name, values)]


def _denoiser_calls(plan: Plan) -> int:
    steps = executed_steps(plan.steps, plan.strength, plan.family) + plan.hires_steps
    return steps * (2 if plan.guided and plan.family.separate_calls else 1)


def _component_cost(network: nn.Module, dtype: torch.dtype, *, quantizable: bool) -> ComponentCost:
    cast_network = _cast(network, dtype)
    nbytes = module_bytes(cast_network)
    weights = [
        module.weight
        for module in cast_network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.ndim > 1
    ]
    unique = {id(weight): weight for weight in weights}.values()
    saved = sum(w.nbytes - w.numel() - w.numel() // INT8_GROUP * dtype.itemsize for w in unique)
    return ComponentCost(
        nbytes,
        nbytes - saved if quantizable and saved > 0 else None,
        bytes_outside_blocks(cast_network),
        largest_block(cast_network),
        max((weight.nbytes for weight in unique), default=0),
        not any(isinstance(weight, QuantizedTensor) for weight in network.parameters()),
    )


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a network on the meta device with weights of a data type."""
    twin = meta_copy(network)
    replace_tensors(twin, lambda t: t.to(dtype) if t.is_floating_point() else t)
    return twin


def meta_copy(network: nn.Module) -> nn.Module:
    """A copy of a network without weights, on the meta device."""
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    memo: dict[int, Any] = {
        key: nn.Parameter(tensor.to("meta"), requires_grad=False)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for key, tensor in tensors.items()
    }
    return copy.deepcopy(network, memo)


@dataclass(frozen=True)
class _Counted:
    """Runs a family's pipeline with stand-ins that count.

    Args:
        family: The family.
        on_cpu: Whether a CPU computes.
        precisions: The precision of each network.
        scheduler: The config of the checkpoint's scheduler.
        options: The pipeline's options.

    Attributes:
        tiled: The peaks of autoencoders in tiles, as ``peaks`` returns those without.
    """

    family: Family
    on_cpu: bool
    precisions: ComponentPrecisions
    scheduler: Mapping[str, object]
    options: Mapping[str, object]
    tiled: Peaks = field(default_factory=dict)

    def peaks(self, networks: Mapping[str, nn.Module], plan: Plan, attention: Attention) -> Peaks:
        """The peaks of all calls of networks, by the network's name and the method, in the order of the calls."""
        calls: Peaks = {}
        stand_ins = {
            name: CountedNetwork(name, self._fake(name, network, attention), calls, self.tiled)
            for name, network in networks.items()
        }
        with ExitStack() as stack:
            for name in (plan.family.denoiser, "vae"):
                for patch in CircularConvolutions.of(plan.request.seamless):
                    stack.enter_context(patch.apply(stand_ins[name].fake.network))
            self._run(plan, stand_ins, (plan.width, plan.height), plan.request.mode)
            if plan.request.hires is not None:
                self._run(plan, stand_ins, plan.hires_size, Mode.IMAGE)
        return calls

    def _fake(self, name: str, network: nn.Module, attention: Attention) -> FakeNetwork:
        # On a CPU's fake tensors everything works; only the workspace differs from other devices.
        device = torch.device("cpu")
        dtype = precision_of(name, network, self.precisions)
        twin = meta_copy(network)
        if getattr(twin.config, "force_upcast", False):  # as when it is loaded
            twin.register_to_config(force_upcast=False)
        return FakeNetwork(twin, device, dtype, attention, workspace=self.on_cpu)

    def _run(
        self, plan: Plan, stand_ins: Mapping[str, CountedNetwork], size: tuple[int, int], mode: Mode
    ) -> None:
        """One pass of the pipeline with few steps."""
        steps = max(2, self.family.min_steps)
        scheduler = build_scheduler(plan.sampler_choice, self.scheduler, [0])
        width, height = size
        given = mode is not Mode.TEXT
        DenoisingPass(
            loaded=self._loaded(stand_ins, scheduler),
            mode=mode,
            width=width,
            height=height,
            steps=steps,
            scheduler=scheduler,
            generator=make_generator(0),
            guidance_scale=plan.guidance_scale,
            guided=plan.guided,
            true_cfg_scale=plan.request.true_cfg_scale,
            text=("text", "text"),
            image=Image.new("RGB", size) if given else None,
            mask=Image.new("L", size, 255) if mode is Mode.INPAINT else None,
            references=self._references(plan, size),
            strength=1.0 if given else None,
            previewer=_no_previewer,
        ).run()

    def _references(self, plan: Plan, size: tuple[int, int]) -> list[Image.Image]:
        """White pictures in the sizes of the references."""
        found = self.family.references
        white = [Image.new("RGB", each, "white") for each in plan.reference_sizes]
        return [] if found is None else fit_references(white, found, size)

    def _loaded(self, stand_ins: Mapping[str, CountedNetwork], scheduler: Any) -> LoadedCheckpoint:
        others: dict[str, Any] = {"scheduler": scheduler}
        for name, stand_in in stand_ins.items():
            if name.startswith("text_encoder"):
                tokenizer = StubTokenizer(_positions(stand_in.fake.network))
                others[name.replace("text_encoder", "tokenizer")] = tokenizer
                others.setdefault("processor", tokenizer)
            elif name == "siglip":
                others["siglip_processor"] = siglip2_processor(stand_in.fake.network.config)
        networks = {
            name: Component(
                ComponentKey(name, stand_in.precision), stand_in, 0, parameter_names(stand_in.fake.network)
            )
            for name, stand_in in stand_ins.items()
        }
        return LoadedCheckpoint(
            cast(Any, SimpleNamespace(family=self.family)), networks, others, dict(self.options)
        )


class CountedNetwork(nn.Module):
    """Stands in for a network in a pipeline: counts its calls, and returns ones.

    Args:
        name: The component's name.
        fake: The network.
        peaks: Gets the peak of each method that is called.
        tiled: Gets the same of an autoencoder's methods in tiles.
    """

    def __init__(self, name: str, fake: FakeNetwork, peaks: Peaks, tiled: Peaks) -> None:
        super().__init__()
        self._name, self._peaks, self._tiled = name, peaks, tiled
        self._results: dict[object, Any] = {}
        self.__dict__["fake"] = fake  # no submodule: its tensors have no data

    fake: FakeNetwork

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class that ``isinstance`` finds beside its own: that of networks that pipelines recognise by it."""
        fake = self.__dict__.get("fake")
        return type(fake.network) if fake is not None and decodes_with_mask(fake.network) else CountedNetwork

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's result."""
        return self._count(_CALL, *args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """An autoencoder's latents."""
        return self._count(_ENCODE, *args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """An autoencoder's picture."""
        return self._count(_DECODE, *args, **kwargs)

    def to(self, *_: Any, **__: Any) -> CountedNetwork:
        """Nothing: the network has its device and its precision."""
        return self

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the weights."""
        return self.fake.dtype

    @property
    def precision(self) -> str:
        """The same by its name."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    @property
    def device(self) -> torch.device:
        """Where the pipeline's own tensors are, which have data."""
        return torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            value = getattr(self.__dict__["fake"].network, name)
            return _with_ones(value) if isinstance(value, nn.Module) else value

    def _count(self, method: str, *args: Any, **kwargs: Any) -> Any:
        shapes = [_signature(leaf) for leaf in tree_leaves((args, kwargs))]
        key = (method, self.dtype, str(shapes))
        if key not in self._results:  # a pipeline repeats its calls step by step
            peak, self._results[key] = self._measure(method, *args, **kwargs)
            place = (self._name, method)
            self._peaks[place] = max(self._peaks.get(place, 0), peak)
            if method in (_ENCODE, _DECODE) and not decodes_with_mask(self.fake.network):
                tile = TILE if method == _ENCODE else TILE // pixels_per_latent(self.fake.network)
                part, _ = self._measure(method, args[0][..., :tile, :tile], *args[1:], **kwargs)
                peak = part + _largest(self._results[key])
                self._tiled[place] = max(self._tiled.get(place, 0), peak)
        return self._results[key]

    def _measure(self, method: str, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        self.fake.peak = 0
        result = self.fake.call(method, *args, **kwargs)
        return self.fake.peak, result


def _largest(result: Any) -> int:
    """Bytes of the largest tensor of a result."""
    output = result[0] if isinstance(result, tuple) else next(iter(result.values()))
    tensor: torch.Tensor = getattr(output, "parameters", output)
    return int(tensor.nbytes)


def _signature(value: Any) -> object:
    return (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else type(value)


def _with_ones(module: nn.Module) -> nn.Module:
    """A copy of a submodule whose tensors are ones, for pipelines that compute with them; they take no memory."""
    twin = meta_copy(module)
    replace_tensors(twin, lambda t: torch.ones((), dtype=t.dtype).expand(t.shape))
    return twin


def _positions(network: nn.Module) -> int:
    """Tokens that a text encoder reads: a CLIP's positions, or 256 for those that read thousands."""
    positions = getattr(network.config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions <= 512 else 256


def _no_previewer() -> LatentToRGB:
    raise AssertionError("nothing is previewed")
