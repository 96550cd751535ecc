"""The façade over generation, moderation and upscaling: the Python API, which all front ends use."""

from safelight.studio.picture import Picture
from safelight.studio.studio import Studio

__all__ = ["Picture", "Studio"]
