"""Export a classifier to ONNX, OpenVINO or TorchScript, and compare its outputs with the original."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ExportParityError, OutputError, OutputExistsError, UsageError
from safelight.moderation.classifiers.definition import ClassifierDefinition
from safelight.runtime.backends import BackendPlan, compile_network
from safelight.runtime.graph import PIXELS
from safelight.runtime.machine import usable_cores

MAX_DIFFERENCE = 1e-3
MANIFEST = "classifier.json"

_EXPORT_FILES = {MANIFEST, "classifier.onnx", "classifier.xml", "classifier.bin", "classifier.pt"}

RunExported = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class ExportResult:
    """The result of an export: its files, and its differences from the original.

    Args:
        folder: Folder of the network and its manifest.
        files: Names of the files in it.
        probability_error: Largest difference of a probability over the probe images.
        embedding_error: Largest difference of an embedding's value, relative to the largest value.
    """

    folder: Path
    files: tuple[str, ...]
    probability_error: float
    embedding_error: float


def export_classifier(
    definition: ClassifierDefinition, file_format: str, folder: Path, *, overwrite: bool = False
) -> ExportResult:
    """Export a classifier with a manifest, and check that its outputs match the original's.

    The network takes uint8 pixels [n, side, side, 3]; it contains the normalization. The manifest describes the
    preprocessing and the labels.

    Args:
        definition: The classifier.
        file_format: onnx, openvino or torchscript.
        folder: The output folder; created if missing.
        overwrite: Replace an earlier export; a folder with any other content is never changed.

    Raises:
        UsageError: The format is unknown.
        OutputExistsError, OutputError: The folder exists, or cannot be written.
        ExportParityError: The exported network's outputs differ by more than 1e-3; nothing is written.
    """
    if file_format not in _WRITERS:
        raise UsageError(f"There is no export format {file_format!r}; there are {', '.join(_WRITERS)}.")
    _check_folder(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exporting-") as temporary:
            staging = Path(temporary) / "export"
            staging.mkdir()
            errors = _write_and_check(definition, file_format, staging)
            files = tuple(sorted(path.name for path in staging.iterdir()))
            if folder.exists():
                folder.rename(Path(temporary) / "replaced")
            staging.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return ExportResult(folder, files, *errors)


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise OutputExistsError(
            f"{folder} is there already.", hint="Choose another folder or pass --overwrite."
        )
    foreign = {path.name for path in folder.iterdir()} - _EXPORT_FILES if folder.is_dir() else {folder.name}
    if foreign or folder.resolve() == Path.cwd():
        raise OutputExistsError(
            f"{folder} is no earlier export, so it is not replaced.",
            hint="Choose a new folder; only one that holds an export and nothing else is ever replaced.",
        )


def _write_and_check(definition: ClassifierDefinition, file_format: str, folder: Path) -> tuple[float, float]:
    run = _WRITERS[file_format](definition, folder)
    (folder / MANIFEST).write_text(json.dumps(_manifest(definition, file_format), indent=1) + "\n")
    pixels = definition.probe_inputs()
    reference = compile_network(definition.graph, BackendPlan("onnxruntime", "fp32", usable_cores())).run(
        pixels
    )
    probabilities, embedding = (reference[name] for name in definition.graph.outputs)
    answer = run(pixels)
    probability_error = float(np.abs(answer[0] - probabilities).max())
    embedding_error = float(np.abs(answer[1] - embedding).max() / np.abs(embedding).max())
    if not max(probability_error, embedding_error) <= MAX_DIFFERENCE:
        raise ExportParityError(
            f"The {file_format} network strays: probabilities by {probability_error:.2g}, "
            f"embeddings by {embedding_error:.2g}."
        )
    return probability_error, embedding_error


def _manifest(definition: ClassifierDefinition, file_format: str) -> dict[str, object]:
    return {
        "classifier": definition.name,
        "digest": definition.digest,
        "format": file_format,
        "labels": list(definition.labels),
        "input": {
            "name": PIXELS,
            "dtype": "uint8",
            "layout": "NHWC, RGB",
            "shape": ["batch", definition.graph.height, definition.graph.width, 3],
        },
        "outputs": list(definition.graph.outputs),
        "preprocessing": definition.preprocessing.to_dict(),
    }


def _write_onnx(definition: ClassifierDefinition, folder: Path) -> RunExported:
    import onnxruntime as ort

    path = folder / "classifier.onnx"
    path.write_bytes(definition.graph.onnx)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pixels: list(session.run(list(definition.graph.outputs), {PIXELS: pixels}))


def _write_openvino(definition: ClassifierDefinition, folder: Path) -> RunExported:
    import openvino as ov

    path = folder / "classifier.xml"
    core = ov.Core()
    model = core.read_model(definition.graph.onnx, b"")
    ov.save_model(model, path, compress_to_fp16=False)
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        answer = compiled({PIXELS: pixels})
        return [answer[name] for name in definition.graph.outputs]

    return run


def _write_torchscript(definition: ClassifierDefinition, folder: Path) -> RunExported:
    from safelight.moderation.classifiers import torchscript

    path = folder / "classifier.pt"
    torchscript.save(torchscript.trace_classifier(definition.graph, definition.folder), path)
    return lambda pixels: torchscript.run(path, pixels)


_WRITERS = MappingProxyType(
    {"onnx": _write_onnx, "openvino": _write_openvino, "torchscript": _write_torchscript}
)
