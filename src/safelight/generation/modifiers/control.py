"""Controls: networks that read a picture beside the latents and add to what the denoiser computes.

What they add is made around each call of the denoiser, so they work in every mode and with every guidance, and any
number of them adds up. The stock pipelines know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from safelight.errors import ControlFamilyError
from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.active_control import ActiveControl
from safelight.generation.modifiers.control_reference import ReferenceControl
from safelight.generation.modifiers.control_transformer import (
    FluxControl,
    HunyuanControl,
    QwenControl,
    SD3Control,
    ZImageControl,
)
from safelight.generation.modifiers.control_unet import (
    AdapterControl,
    LLLiteControl,
    UNetControl,
    UNetUnionControl,
)
from safelight.generation.modifiers.control_xs import XSControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import (
    Layer,
    ModifierFactory,
    NetworkContext,
    PassContext,
)
from safelight.models.checkpoints.denoiser_weights import read_denoiser
from safelight.models.controls.control_lora import BaseUNet
from safelight.models.controls.discovery import REFERENCE
from safelight.models.controls.loading import control_source
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import Component, ComponentSource

METHODS: Mapping[str, Callable[[ControlPicture, Component | None, PassContext], ActiveControl]] = {
    "controlnet": UNetControl,
    "controlnet-union": UNetUnionControl,
    "control-lora": UNetControl,
    "controlnet-xs": XSControl,
    "t2i-adapter": AdapterControl,
    "lllite": LLLiteControl,
    "reference": ReferenceControl,
    "sd3-controlnet": SD3Control,
    "flux-controlnet": FluxControl,
    "flux-controlnet-union": FluxControl,
    "qwen-controlnet": QwenControl,
    "z-image-controlnet": ZImageControl,
    "hunyuan-controlnet": HunyuanControl,
}
"""How each architecture of ``models.controls`` is applied."""


class Controls(Modifier):
    """All controls of a pass.

    Args:
        controls: In the order of the request.
    """

    def __init__(self, controls: Sequence[ActiveControl]) -> None:
        self._controls = controls

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction with what the controls add."""
        for control in self._controls:
            if control.is_active(call):
                call = control.change(call, compute)
        return compute(call)


def _networks(context: NetworkContext) -> Mapping[str, ComponentSource]:
    base = _base(context)
    return {
        control.name: control_source(control.model, context.precision, context.device, context.cache, base)
        for control in context.plan.controls
        if control.has_effect
        and control.model is not REFERENCE
        and not control.model.architecture.is_ip_adapter
    }


def _base(context: NetworkContext) -> BaseUNet | None:
    """The checkpoint's U-Net, of which some control networks are made."""
    parts, name = context.parts, context.parts.checkpoint.family.denoiser
    if name != "unet":
        return None
    return BaseUNet(
        parts.sources[name].key.digest,
        lambda: context.networks()[name],
        lambda: read_denoiser(parts.checkpoint),
    )


def _build(context: PassContext) -> Controls | None:
    denoiser, found = context.loaded.denoiser, []
    for picture in context.control_pictures:
        if not isinstance(picture, ControlPicture):
            continue  # an IP-Adapter's
        network = context.networks.get(picture.control.name)
        if network is not None:
            _check_fit(picture, network, denoiser)
        found.append(METHODS[picture.control.model.architecture.name](picture, network, context))
    return Controls(found) if found else None


def _check_fit(picture: ControlPicture, network: Component, denoiser: Component) -> None:
    """Refuse a network of the right family and the wrong size, such as Stable Diffusion's for the starter."""
    if not picture.control.model.architecture.class_name:
        return  # it has no config; its layers are looked up
    widths = "base_block_out_channels"  # a ControlNet-XS has narrower blocks of its own
    for name, other in (
        ("cross_attention_dim", "cross_attention_dim"),
        (widths if widths in network.config else "block_out_channels", "block_out_channels"),
        ("channels", "block_out_channels"),  # a T2I-Adapter's
        ("joint_attention_dim", "joint_attention_dim"),
    ):
        own, needed = network.config.get(name), denoiser.config.get(other)
        if isinstance(own, list | tuple) and isinstance(needed, list | tuple):
            own = own[: len(needed)]  # a T2I-Adapter of Stable Diffusion XL has features for the middle too
        if own is not None and needed is not None and _plain(own) != _plain(needed):
            raise ControlFamilyError(
                f"{picture.control.model.name} does not fit the checkpoint: its {name} is {_plain(own)}, "
                f"not {_plain(needed)}.",
                hint="Give a control that was trained for this checkpoint or one of its size.",
                field=f"control.{picture.control.index}.model",
            )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register controls."""
    registry.register("control", ModifierFactory(Layer.CONTROL, _build, _networks))
