"""Canvases: masks and initial images of image-to-image, inpainting and outpainting."""
