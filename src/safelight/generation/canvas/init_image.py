"""What a picture starts from: nothing, a whole picture, or a canvas with a mask. All pictures are RGB."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from safelight.generation.canvas.masks import (
    Canvas,
    check_outpaint,
    inpainting_canvas,
    outpainting_canvas,
    prepare_mask,
)
from safelight.generation.request import GenerationRequest

Size = tuple[int, int]


@dataclass(frozen=True)
class InitImage:
    """What the network is given to start from.

    Args:
        image: RGB, in the size that is denoised; None for text-to-image.
        mask: Mode L, in the same size, black or white in blocks of the network's own units, with soft inpainting
            grey; None without a mask.
        canvas: What the changed part is put back into; None without a mask.
    """

    image: Image.Image | None = None
    mask: Image.Image | None = None
    canvas: Canvas | None = None

    def finished(self, image: Image.Image, steps: int = 1) -> Image.Image:
        """The result: the denoised picture itself, or the canvas with it put back.

        Args:
            image: The denoised picture.
            steps: Steps that the network ran.
        """
        return image if self.canvas is None else self.canvas.composite(image, steps)


def check_inputs(request: GenerationRequest, init: Image.Image | None, mask: Image.Image | None) -> None:
    """Check that initial picture, mask and outpainting fit each other, before anything is loaded.

    Raises:
        MaskError: They do not.
    """
    if init is not None and mask is not None:
        prepare_mask(init, mask, request.inpaint)
    if request.outpaint is not None:
        check_outpaint(request.outpaint)


def make_init_image(
    request: GenerationRequest,
    init: Image.Image | None,
    mask: Image.Image | None,
    seed: int,
    size: Size,
    unit: int,
) -> InitImage:
    """What a request's picture starts from.

    Args:
        request: The request.
        init: The initial picture, RGB.
        mask: Its mask.
        seed: The picture's, for masks filled with noise.
        size: Width and height in pixels that are denoised.
        unit: Pixels of a mask that the network takes as one.

    Raises:
        MaskError: The mask has another size than the picture, or marks nothing.
    """
    if init is None:
        return InitImage()
    if mask is not None:
        return _on(inpainting_canvas(init, mask, request.inpaint, seed, size), size, unit)
    if request.outpaint is not None:
        return _on(outpainting_canvas(init, request.outpaint, request.inpaint, seed), size, unit)
    return InitImage(ImageOps.fit(init, size, Image.Resampling.LANCZOS))


def _on(canvas: Canvas, size: Size, unit: int) -> InitImage:
    image = canvas.init_image.crop(canvas.box).resize(size, Image.Resampling.LANCZOS)
    return InitImage(image, canvas.latent_mask(size, unit), canvas)
