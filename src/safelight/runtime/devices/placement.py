"""On which device each component of a checkpoint computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

Group = Literal["denoiser", "text_encoders", "vae"]
"""Components that are on one device together."""


def group_of(component: str) -> Group:
    """The group of a component: every network that is neither a text encoder nor the autoencoder is the denoiser's."""
    if component.startswith("text_encoder"):
        return "text_encoders"
    return "vae" if component == "vae" else "denoiser"


@dataclass(frozen=True)
class ComponentDevices:
    """The device of each component of a checkpoint.

    Args:
        denoiser: That of the denoiser, where latents and embeddings are between two calls of networks.
        text_encoders: That of the text encoders.
        vae: That of the autoencoder.
    """

    denoiser: torch.device
    text_encoders: torch.device
    vae: torch.device

    @classmethod
    def uniform(cls, device: torch.device) -> ComponentDevices:
        """One device for all components."""
        return cls(device, device, device)

    def of(self, component: str) -> torch.device:
        """The device of a component, by its name in the pipeline."""
        device: torch.device = getattr(self, group_of(component))
        return device

    def elsewhere(self, component: str) -> str:
        """The name of a component's device where it is not the denoiser's; empty otherwise."""
        device = self.of(component)
        return "" if is_same(device, self.denoiser) else str(device)

    @property
    def uses(self) -> list[tuple[torch.device, tuple[Group, ...]]]:
        """All devices, and what is on each, that of the denoiser first."""
        others = list(self.others.values())
        apart = {group for _, groups in others for group in groups}
        return [(self.denoiser, tuple(each for each in get_args(Group) if each not in apart)), *others]

    @property
    def others(self) -> dict[str, tuple[torch.device, tuple[Group, ...]]]:
        """The devices beside the denoiser's, by name, and what is on each."""
        apart: tuple[tuple[Group, torch.device], ...] = (
            ("text_encoders", self.text_encoders),
            ("vae", self.vae),
        )
        found: dict[str, tuple[torch.device, tuple[Group, ...]]] = {}
        for group, device in apart:
            if not is_same(device, self.denoiser):
                _, before = found.get(str(device), (device, ()))
                found[str(device)] = device, (*before, group)
        return found


def is_same(one: torch.device, other: torch.device) -> bool:
    """Whether two names mean one device: without a number, it is the first one."""
    return (one.type, one.index or 0) == (other.type, other.index or 0)
