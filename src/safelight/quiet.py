"""Keeps the engines from reporting to their makers.

As they come, onnxruntime (1.29 and later) and openvino send events to third parties when they are imported, and
huggingface-hub may when it is used. Nothing here touches the network unless the user asked for it, so this is run
before anything else of Safelight is imported. Whoever wants the reports can set the variables before starting.
"""

from __future__ import annotations

import os
import sys


def silence_engines() -> None:
    """Turn telemetry off for this process and its children."""
    for variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(variable, "1")
    # OpenVINO has no such variable; without its telemetry package it uses a stub of its own.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python marks absence
