"""Turn off the telemetry of libraries.

By default onnxruntime (1.29 and later) and openvino send events to third parties when they are imported, and
huggingface-hub can when it is used. Safelight uses the network only if the user asks for it, so this runs before any
other module of Safelight is imported. Users who want telemetry can set the variables before starting.
"""

from __future__ import annotations

import os
import sys


def turn_off_telemetry() -> None:
    """Turn telemetry off for this process and its children."""
    for variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(variable, "1")
    # OpenVINO has no such variable; without its telemetry package it uses a built-in stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python marks absence
