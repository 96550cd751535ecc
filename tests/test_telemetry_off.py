"""The environment variables that turn telemetry off; tests/runtime/test_backends.py shows that engines obey them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "import sys, os, safelight.runtime.backends.openvino, safelight.runtime.backends.onnxruntime;"
    "print(os.environ['ORT_DISABLE_TELEMETRY'], sys.modules['openvino_telemetry'])"
)


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_environment_says_otherwise(given, kept):
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"ORT_DISABLE_TELEMETRY": given} if given else {}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [kept, "None"]
