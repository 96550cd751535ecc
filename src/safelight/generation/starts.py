"""What a picture starts from: nothing, a whole picture, or a canvas with a mask."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from safelight.generation.masks import Canvas, canvas_for_mask, canvas_for_outpainting, lightness, see_beyond
from safelight.generation.request import GenerationRequest

Size = tuple[int, int]


@dataclass(frozen=True)
class Start:
    """What the network is given to start from.

    Args:
        image: RGB, in the size to be drawn; None for text-to-image.
        mask: Mode L, in the same size, black or white by the network's own units; None where all of it is drawn.
        canvas: Where the drawn part is put back into; None where all of it is drawn.
    """

    image: Image.Image | None = None
    mask: Image.Image | None = None
    canvas: Canvas | None = None

    def finished(self, drawn: Image.Image) -> Image.Image:
        """The result: the drawn picture itself, or the canvas with it put back."""
        return drawn if self.canvas is None else self.canvas.put_back(drawn)


def check_start(request: GenerationRequest, init: Image.Image | None, mask: Image.Image | None) -> None:
    """See that initial picture, mask and outpainting go together, before anything is loaded.

    Raises:
        MaskError: They do not.
    """
    if init is not None and mask is not None:
        lightness(init, mask, request.inpaint)
    if request.outpaint is not None:
        see_beyond(request.outpaint)


def start_of(
    request: GenerationRequest,
    init: Image.Image | None,
    mask: Image.Image | None,
    seed: int,
    size: Size,
    unit: int,
) -> Start:
    """What a request's picture starts from.

    Args:
        request: What was asked.
        init: The initial picture, RGB.
        mask: Its mask.
        seed: Of the picture, for masks filled with noise.
        size: Width and height to be drawn.
        unit: Pixels of a mask that the network takes as one.

    Raises:
        MaskError: The mask has another size than the picture, or marks nothing.
    """
    if init is None:
        return Start()
    if mask is not None:
        return _on(canvas_for_mask(init, mask, request.inpaint, seed, size), size, unit)
    if request.outpaint is not None:
        return _on(canvas_for_outpainting(init, request.outpaint, request.inpaint, seed), size, unit)
    return Start(ImageOps.fit(init, size, Image.Resampling.LANCZOS))


def canvas_size(request: GenerationRequest, init: Image.Image | None) -> Size | None:
    """Width and height of what is drawn on; None for text-to-image."""
    if init is None:
        return None
    beyond = request.outpaint
    if beyond is None:
        return init.size
    return init.width + beyond.left + beyond.right, init.height + beyond.top + beyond.bottom


def _on(canvas: Canvas, size: Size, unit: int) -> Start:
    image = canvas.start.crop(canvas.box).resize(size, Image.Resampling.LANCZOS)
    return Start(image, canvas.marked_latents(size, unit), canvas)
