"""The façade over the domains: the Python API, which every front door uses too."""

from safelight.studio.picture import Picture
from safelight.studio.studio import Studio

__all__ = ["Picture", "Studio"]
