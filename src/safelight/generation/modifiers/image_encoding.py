"""What image encoders make of the pictures that IP-Adapters look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from safelight.generation.control.pictures import ImagePrompt, fit
from safelight.models.controls.ip_adapter import EncoderNeed
from safelight.runtime.component import Component


def encode_picture(prompt: ImagePrompt, encoder: Component) -> Tensor:
    """What an adapter reads of a picture; of a control's own picture it is computed once for a run.

    Returns:
        (1, width), or (1, tokens, width) for an adapter that reads features.
    """
    need, resize = prompt.control.model.ip_adapter().encoder, prompt.control.options.resize

    def encode() -> Tensor:
        return _encode(encoder, prepare_pixels(prompt.image, _side(encoder), need, resize), need)

    if not prompt.is_own:
        return encode()
    return _kept(prompt, (encoder.key, need, prompt.control.index), encode)


def encode_negative(prompt: ImagePrompt, encoder: Component, positive: Tensor) -> Tensor:
    """What it reads for the negative prompt, as in diffusers.

    That is the encoding of a picture that is zero everywhere once it is normalised, where a U-Net's adapter reads
    features; of a black picture for Flux; else zeros.

    Args:
        prompt: The picture.
        encoder: The image encoder.
        positive: What the adapter reads for the prompt.

    Returns:
        The same shape.
    """
    adapter = prompt.control.model.ip_adapter()
    need, side = adapter.encoder, _side(encoder)
    if adapter.architecture == "flux-ip-adapter":
        pixels = prepare_pixels(Image.new("RGB", (side, side)), side, need, "crop")
    elif adapter.architecture == "ip-adapter" and need.output == "features":
        pixels = torch.zeros(1, 3, side, side)
    else:
        return torch.zeros_like(positive)
    return _kept(prompt, (encoder.key, need, adapter.architecture), lambda: _encode(encoder, pixels, need))


def prepare_pixels(image: Image.Image, side: int, need: EncoderNeed, resize: str) -> Tensor:
    """A picture as an image encoder reads it: (1, 3, side, side), normalised.

    Args:
        image: RGB.
        side: Of the encoder's pictures, in pixels.
        need: Which encoder it is.
        resize: How a picture that is no square is made to fit, as ``Control.resize``.
    """
    if resize == "fill":
        image = fit(image, (max(image.size), max(image.size)), "fill")
    elif resize == "stretch":
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    elif need.layout == "siglip-vision":  # its processor would stretch the picture
        image = fit(image, (min(image.size), min(image.size)), "crop")
    from transformers import CLIPImageProcessor, SiglipImageProcessor  # with torchvision, which takes a while

    processor: Any
    if need.layout == "clip-vision":
        processor = CLIPImageProcessor(size=side, crop_size=side)
    else:
        processor = SiglipImageProcessor(size={"height": side, "width": side})
    pixels: Tensor = processor(image, return_tensors="pt").pixel_values
    return pixels


def _side(encoder: Component) -> int:
    network: Any = encoder.network
    return int(network.config.image_size)


def _kept(prompt: ImagePrompt, key: object, encode: Callable[[], Tensor]) -> Tensor:
    if key not in prompt.kept:
        prompt.kept[key] = encode()
    found: Tensor = prompt.kept[key]
    return found


def _encode(encoder: Component, pixels: Tensor, need: EncoderNeed) -> Tensor:
    network: Any = encoder.network
    pixels = pixels.to(network.device, network.dtype)
    with torch.no_grad():
        if need.output == "embedding":
            embedding: Tensor = network(pixels).image_embeds
            return embedding
        features: Tensor = network(pixels, output_hidden_states=True).hidden_states[-2]
    return features
