"""A Python client of the Safelight server. It imports neither torch nor a classifier."""

from safelight.client.client import Client
from safelight.client.models import GenerateJob, ScanJob, UpscaleJob

__all__ = ["Client", "GenerateJob", "ScanJob", "UpscaleJob"]
