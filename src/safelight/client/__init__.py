"""Talking to a Safelight server from Python. Needs nothing that draws or judges."""

from safelight.client.client import Client
from safelight.client.models import GenerateJob, ScanJob, UpscaleJob

__all__ = ["Client", "GenerateJob", "ScanJob", "UpscaleJob"]
