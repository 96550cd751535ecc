"""SD.Next's field ``ip_adapter``: pictures that count as parts of the prompt do; each becomes a control."""

from __future__ import annotations

from typing import Any

from safelight.errors import BodyInvalidError, UnsupportedFieldError
from safelight.generation.control.sdnext_adapters import model_of
from safelight.generation.control.units import bare_name
from safelight.server.api.a1111.schemas import GenerationParameters, IPAdapterItem
from safelight.server.core.app_state import AppState
from safelight.server.core.request_bodies.payload_decoding import decode_image

FIELD = "ip_adapter"


async def ip_adapter_controls(body: GenerationParameters, app_state: AppState) -> list[dict[str, Any]]:
    """The fields of the controls that a body's ``ip_adapter`` asks for.

    Raises:
        UnsupportedFieldError: One asks for faces to be cut out.
        BodyInvalidError: One has no picture, or another number of masks than of pictures.
    """
    controls = []
    for number, item in enumerate(body.ip_adapter or ()):
        if model := bare_name(item.adapter):
            controls += await _controls(number, item, model_of(model), app_state)
    return controls


async def _controls(
    number: int, item: IPAdapterItem, model: str, app_state: AppState
) -> list[dict[str, Any]]:
    place, images, masks = f"{FIELD}.{number}", item.images or [item.image or ""], item.masks
    if item.crop:
        raise UnsupportedFieldError(
            f"{place}: Safelight does not cut out faces.",
            field=f"{place}.crop",
            hint="Give the face as a picture.",
        )
    if not all(images):
        raise BodyInvalidError(f"{place}: it has no picture.", field=f"{place}.images")
    if len(masks) not in (0, len(images)):
        raise BodyInvalidError(
            f"{place}: {len(images)} pictures and {len(masks)} masks.",
            hint="Give a mask for each picture, or none.",
            field=f"{place}.masks",
        )
    shared = {
        "kind": "ip-adapter",
        "model": model,
        "weight": item.scale,
        "start": item.start,
        "end": item.end,
    }
    controls = []
    for place_in_item, encoded in enumerate(images):
        fields = shared | {"image": await decode_image(encoded, app_state)}
        if masks:
            fields["mask"] = await decode_image(masks[place_in_item], app_state)
        controls.append(fields)
    return controls
