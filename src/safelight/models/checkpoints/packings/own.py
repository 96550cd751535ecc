"""Safelight's own layout for int8 and int4, which ``safelight models quantize`` writes.

``X`` has the codes, ``X.scales`` their scales; the metadata's ``safelight.quantization`` is JSON with the format, the
size of groups and the shape of each quantized tensor. (nf4 is written in bitsandbytes' layout and fp8 in ComfyUI's.)
"""

from __future__ import annotations

import json
import math

from safelight.models.checkpoints.packings.file_content import FileContent, check_shape
from safelight.models.checkpoints.tensor_entries import Packing

METADATA = "safelight.quantization"
MAX_GROUP = 1 << 16


def find(content: FileContent) -> None:
    """Find the tensors that Safelight quantized.

    Raises:
        ValueError: One lacks a part, or its parts do not fit together.
    """
    text = content.metadata.get(METADATA)
    if text is None:
        return
    for name, described in json.loads(text).items():
        kind, group = described.get("format"), described.get("group")
        shape = check_shape(described.get("shape"))
        if kind not in ("int8", "int4"):
            raise ValueError(f"{name} is quantized as {str(kind)[:20]}, which is not known")
        if type(group) is not int or not 2 <= group <= MAX_GROUP or group % 2 or len(shape) < 2:
            raise ValueError(f"{name} has groups of {str(group)[:20]} elements")
        groups = -(-math.prod(shape[1:]) // group)
        parts = {"codes": name, "scales": f"{name}.scales"}
        columns = groups * group if kind == "int8" else groups * group // 2
        for role, wanted in (("codes", (shape[0], columns)), ("scales", (shape[0], groups))):
            stored = content.stored.get(parts[role])
            if stored is None:
                raise ValueError(f"{parts[role]} is missing")
            if stored.shape != wanted:
                raise ValueError(f"{parts[role]} has the shape {list(stored.shape)}, not {list(wanted)}")
        content.add(name, kind.upper(), shape, Packing(f"own-{kind}", parts, {"group": group}))
