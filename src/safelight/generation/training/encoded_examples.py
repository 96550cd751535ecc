"""Pictures and captions as a U-Net takes them: latents and text embeddings, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safelight.errors import UsageError
from safelight.generation.prompts.encode import Conditioning, PromptEncoder, sd_encoder, sdxl_encoder
from safelight.generation.prompts.schedule import Segment, Segments
from safelight.generation.training.examples import CroppedPicture, Example
from safelight.models.checkpoints.loading import CheckpointParts, pixels_per_latent
from safelight.models.families import Family


@dataclass(frozen=True)
class EncodedExamples:
    """What the U-Net is trained on.

    Args:
        latents: (examples, 1 or 2, channels, rows, columns): each picture, and with flips its mirror image.
        captions: The embeddings of each caption, all of the same shape.
        empty: The embeddings of a caption that is left out.
        sizes: For SDXL (examples, 6): height and width of the whole picture, top and left of the square in it, the
            square's height and width; else None.
    """

    latents: Tensor
    captions: Sequence[Conditioning]
    empty: Conditioning
    sizes: Tensor | None

    def conditions(self, rows: Sequence[int], dropped: Sequence[bool]) -> dict[str, Any]:
        """The U-Net's arguments for the captions of some examples, some of which are left out."""
        chosen = [self.empty if drop else self.captions[row] for row, drop in zip(rows, dropped, strict=True)]
        arguments: dict[str, Any] = {"encoder_hidden_states": torch.cat([each.embeddings for each in chosen])}
        if self.sizes is not None:
            pooled = torch.cat([each.pooled for each in chosen if each.pooled is not None])
            arguments["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": self.sizes[list(rows)]}
        return arguments


def encode_captions(
    parts: CheckpointParts, examples: Sequence[Example]
) -> tuple[list[Conditioning], Conditioning]:
    """Embed each caption, as plain text; and the empty one, as guidance has it.

    Raises:
        ModelError: A text encoder cannot be loaded, or does not match its tokenizer.
    """
    encoder = prompt_encoder(parts.checkpoint.family, *load_text_encoders(parts))
    texts: list[Segments] = [(Segment(example.caption),) for example in examples]
    chunks = max(encoder.count_chunks(text) for text in texts)
    captions = [encoder.encode(text, min_chunks=chunks) for text in texts]
    return captions, encoder.encode_pair((), (), min_chunks=chunks)[1]


def load_text_encoders(parts: CheckpointParts) -> tuple[list[Any], list[Any]]:
    """The networks of a checkpoint's text encoders, and the tokenizers in the same order.

    Raises:
        ModelError: A text encoder cannot be loaded.
    """
    family, others = parts.checkpoint.family, parts.tokenizers_and_scheduler
    networks = [parts.sources[name].load().network for name in family.text_encoders]
    return networks, [others[name] for name in family.tokenizer_names]


def prompt_encoder(family: Family, networks: Sequence[Any], tokenizers: Sequence[Any]) -> PromptEncoder:
    """What encodes captions with a family's text encoders.

    Raises:
        CheckpointInvalidError: A tokenizer does not match its text encoder.
    """
    if family.text_encoding == "clip":
        return sd_encoder(tokenizers[0], networks[0])
    return sdxl_encoder(tokenizers, networks)


def encode_picture(vae: Any, picture: CroppedPicture, *, flip: bool) -> Tensor:
    """The latents of a picture, and with flip of its mirror image: (1 or 2, channels, rows, columns) in fp32.

    Args:
        vae: An AutoencoderKL.
        picture: The picture.
        flip: Whether to add its mirror image.

    Raises:
        UsageError: Its side is no multiple of the autoencoder's scale.
    """
    scale = pixels_per_latent(vae)
    if picture.image.width % scale:
        raise UsageError(f"A resolution of {picture.image.width} is no multiple of {scale}.")
    data = torch.frombuffer(bytearray(picture.image.tobytes()), dtype=torch.uint8)
    pixels = data.reshape(picture.image.height, picture.image.width, 3).permute(2, 0, 1) / 127.5 - 1
    both = torch.stack([pixels, pixels.flip(-1)] if flip else [pixels])
    with torch.no_grad():
        latents: Tensor = vae.encode(both.to(vae.dtype)).latent_dist.mode().float()
    return (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor


def size_condition(picture: CroppedPicture) -> list[float]:
    """SDXL's condition on sizes: the whole picture's height and width, the square's top and left, and its sides."""
    (width, height), (left, top), side = picture.size, picture.corner, picture.image.width
    return [float(value) for value in (height, width, top, left, side, side)]
