"""In which precisions the components of a family compute right, and which of them a checkpoint's components run in.

Networks were trained in some range of numbers: fp16 ends at 65,504, and a network that exceeds it returns infinity,
NaN or a picture of one colour. bf16 has the range of fp32 with fewer digits. So each family lists, component by
component, what it was published for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class FamilyPrecision:
    """The precisions in which a family's components compute right on an accelerator, the preferred one first.

    fp32 always does, and need not be listed; on a CPU the default is fp32 for every component.

    Args:
        denoiser: Of the U-Net or transformer.
        text_encoders: Of all text encoders.
        vae: Of the autoencoder. One whose config says ``force_upcast: false`` also runs in fp16.
        source: Where that is from.
    """

    denoiser: tuple[Precision, ...]
    text_encoders: tuple[Precision, ...]
    vae: tuple[Precision, ...]
    source: str


@dataclass(frozen=True)
class ComponentPrecisions:
    """The precision of each component of a checkpoint.

    Args:
        denoiser: Of the denoiser, and of every network that is neither a text encoder nor the autoencoder.
        text_encoders: Of the text encoders.
        vae: Of the autoencoder.
        fp16_vae: Of an autoencoder whose config says that it stays in the range of fp16 (``force_upcast: false``).
    """

    denoiser: str
    text_encoders: str
    vae: str
    fp16_vae: str

    @classmethod
    def uniform(cls, precision: str) -> ComponentPrecisions:
        """One precision for all components."""
        return cls(precision, precision, precision, precision)

    def of(self, component: str, config: Mapping[str, object]) -> str:
        """The precision of a component.

        Args:
            component: Its name in the pipeline.
            config: Its config.
        """
        if component.startswith("text_encoder"):
            return self.text_encoders
        if component == "vae":
            return self.fp16_vae if config.get("force_upcast") is False else self.vae
        return self.denoiser
