"""Quantize open-nsfw to int8: src/safelight/models/quantized/open-nsfw-int8.onnx.

Weights are int8 with a scale per output channel, activations uint8 with a scale per tensor. Three steps keep the scores
near those in fp32, none of which needs labels:

1. Channels of small range are enlarged before, and their readers' weights reduced accordingly, which changes nothing in
   fp32 (cross-layer equalisation; Nagel et al., 2019).
2. Weights are rounded one input at a time, and each error is made up for by the weights that are not rounded yet, by
   how the inputs vary together (GPTQ; Frantar et al., 2023).
3. Biases keep every channel's mean what it is in fp32.

    python quantize_open_nsfw.py PHOTOGRAPHS     a minute of one core; any folder of photographs

The shipped file was made from the 61 pictures of Debian's mate-backgrounds, ukui-wallpapers, lomiri-wallpapers-16.04
and lomiri-wallpapers-20.04. ``measure_int8.py`` compares it with fp32 on others.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from picture_variants import find_photographs, make_variants
from safelight.moderation.classifiers.open_nsfw import PREPROCESSING, build_graph
from safelight.runtime.graph import EMBEDDING, PIXELS, PROBABILITIES

OUTPUT = Path(__file__).parents[1] / "src/safelight/models/quantized/open-nsfw-int8.onnx"
MEAN_RGB = (123, 117, 104)
EQUALISE_BLOCKS, EQUALISE_RESIDUALS = 0.7, 0.5
"""The power of a channel's relative range by which it is enlarged; 1 would make all ranges equal."""
_SMALLEST_RANGE, _EQUALISED_ON = 0.03, 48
_DAMPING = 0.01
_MOST_COLUMNS = 6000
"""Inputs of a convolution that are looked at, per eight pictures."""


@dataclass
class Convolution:
    """A convolution; after quantization its weight is a whole multiple of its scale.

    Args:
        weight: [outputs, inputs, height, width].
        bias: [outputs].
        stride: Of both axes.
        padding: Of both axes.
        scale: [outputs].
    """

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int
    scale: Tensor = field(default_factory=lambda: torch.empty(0))

    def run(self, x: Tensor) -> Tensor:
        """Convolve [n, inputs, rows, columns]."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def columns(self, x: Tensor) -> Tensor:
        """Return what each output pixel sees of a batch: [inputs x height x width, pixels]."""
        size = self.weight.shape[2:]
        seen = F.unfold(x, tuple(size), padding=self.padding, stride=self.stride)
        return seen.transpose(0, 1).reshape(self.weight[0].numel(), -1)


class Network:
    """open-nsfw as its ONNX nodes between the normalised pixels and the pool, in order.

    Args:
        nodes: Conv, Relu, Add and MaxPool.
        convolutions: By the name of their output.
        pixels: Name of the normalised pixels, BGR.
        features: Name of what is pooled.
        head: Weight [1024, labels] and bias [labels].
    """

    def __init__(self) -> None:
        graph = onnx.load_from_string(build_graph().onnx).graph
        values = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        by_type = {node.op_type: node for node in graph.node}
        self.pixels = by_type["Transpose"].output[0]
        self.features = by_type["AveragePool"].input[0]
        product = by_type["MatMul"]
        bias = next(node for node in graph.node if product.output[0] in node.input).input[1]
        self.head = values[product.input[1]], values[bias]
        self.nodes = [
            node
            for node in graph.node
            if node.op_type in ("Conv", "Relu", "MaxPool")
            or (node.op_type == "Add" and bias not in node.input)
        ]
        self.convolutions = {
            node.output[0]: Convolution(
                values[node.input[1]],
                values[node.input[2]],
                _attribute(node, "strides")[0],
                _attribute(node, "pads", [0])[0],
            )
            for node in self.nodes
            if node.op_type == "Conv"
        }
        self.ranges: dict[str, float] = {}

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a value, behind max pooling too."""
        found = [node for node in self.nodes if name in node.input]
        pooled = [node.output[0] for node in found if node.op_type == "MaxPool"]
        return [node for node in found if node.op_type != "MaxPool"] + [
            node for output in pooled for node in self.readers(output)
        ]

    def sources(self) -> dict[str, frozenset[str]]:
        """Return for each value the convolutions whose outputs are summed up in it."""
        found: dict[str, frozenset[str]] = {self.pixels: frozenset()}
        for node in self.nodes:
            inputs = [found[name] for name in node.input if name in found]
            found[node.output[0]] = (
                frozenset(node.output) if node.op_type == "Conv" else frozenset().union(*inputs)
            )
        return found


def main() -> None:
    """Quantize with the photographs of a folder, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=80, help="Pictures that are made of them")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    variants = make_variants(find_photographs(arguments.photographs), arguments.count, seed=1)
    pixels = torch.from_numpy(np.stack([PREPROCESSING.apply(picture) for picture in variants]))
    inputs = (pixels.float() - torch.tensor(MEAN_RGB)).flip(-1).permute(0, 3, 1, 2).contiguous()
    network = Network()
    with torch.no_grad():
        equalise(network, inputs)
        quantize(network, inputs)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_bytes(build_quantized(network).SerializeToString())
    print(
        f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, SHA-256 {hashlib.sha256(OUTPUT.read_bytes()).hexdigest()}"
    )


def equalise(network: Network, inputs: Tensor) -> None:
    """Enlarge channels of small range; the values in between change, the result does not."""
    values = _run(network, inputs[:_EQUALISED_ON])
    largest = {
        node.output[0]: values[node.output[0]].amax((2, 3)).quantile(0.97, 0)
        for node in network.nodes
        if node.op_type == "Relu"
    }
    sources = network.sources()
    streams: dict[str, list[str]] = {}
    for name in largest:
        streams.setdefault(min(sources[name]), []).append(name)
    for names in streams.values():
        writers = frozenset().union(*(sources[name] for name in names))
        if network.features in names:
            continue  # the embedding is to stay as it is
        span = torch.stack([largest[name] for name in names]).amax(0)
        power = EQUALISE_RESIDUALS if len(names) > 1 else EQUALISE_BLOCKS
        factors = (span / span.max()).clamp(min=_SMALLEST_RANGE) ** power
        for writer in writers:
            convolution = network.convolutions[writer]
            convolution.weight = convolution.weight / factors.view(-1, 1, 1, 1)
            convolution.bias = convolution.bias / factors
        for reader in {node.output[0] for name in names for node in network.readers(name)}:
            if convolution := network.convolutions.get(reader):
                convolution.weight = convolution.weight * factors.view(1, -1, 1, 1)


def run_head(network: Network, inputs: Tensor) -> Tensor:
    """Return the logits, [n, labels], of normalised pixels [n, 3, rows, columns]."""
    weight, bias = network.head
    return _run(network, inputs)[network.features].mean((2, 3)) @ weight + bias


def _run(network: Network, inputs: Tensor) -> dict[str, Tensor]:
    """Return every value of the network."""
    values = {network.pixels: inputs}
    for node in network.nodes:
        output = node.output[0]
        convolution = network.convolutions.get(output)
        values[output] = convolution.run(values[node.input[0]]) if convolution else _compute(node, values)
    return values


def quantize(network: Network, inputs: Tensor) -> None:
    """Quantize weights and activations from the first to the last, each on inputs that are quantized already."""
    precise, rough = {network.pixels: inputs}, {network.pixels: inputs}
    waiting = {
        name: len([n for n in network.nodes if name in n.input]) for n in network.nodes for name in n.input
    }
    for node in network.nodes:
        output = node.output[0]
        if node.op_type == "Conv":
            convolution = network.convolutions[output]
            precise[output] = convolution.run(precise[node.input[0]])
            rough[output] = _quantize_convolution(convolution, rough[node.input[0]], precise[output])
        else:
            precise[output], rough[output] = _compute(node, precise), _compute(node, rough)
        if node.op_type == "Relu" and output != network.features:
            network.ranges[output] = _best_range(rough[output])
            rough[output] = _round_activations(rough[output], network.ranges[output])
        for name in node.input:
            waiting[name] -= 1
            if not waiting[name]:
                precise.pop(name, None), rough.pop(name, None)


def _compute(node: onnx.NodeProto, values: dict[str, Tensor]) -> Tensor:
    inputs = [values[name] for name in node.input]
    if node.op_type == "Relu":
        return F.relu(inputs[0])
    if node.op_type == "Add":
        return inputs[0] + inputs[1]
    top, left, bottom, right = _attribute(node, "pads", [0] * 4)
    # What is pooled is not negative, so that zeros are as good as nothing.
    padded = F.pad(inputs[0], (left, right, top, bottom))
    return F.max_pool2d(padded, _attribute(node, "kernel_shape"), _attribute(node, "strides"))


def _quantize_convolution(convolution: Convolution, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Quantize the weights, and return the output with them, whose means are those that are wanted."""
    parts = []
    for batch in inputs.split(8):
        columns = convolution.columns(batch)
        parts.append(columns[:, :: max(1, columns.shape[1] // _MOST_COLUMNS)])
    seen = sum(part.shape[1] for part in parts)
    moments = sum(part @ part.T for part in parts) / seen
    weight = convolution.weight.flatten(1)
    convolution.scale = _best_scales(weight, moments.diagonal())
    rounded = round_together(weight, moments, convolution.scale)
    convolution.weight = rounded.view_as(convolution.weight)
    convolution.bias = torch.zeros_like(convolution.bias)
    output = convolution.run(inputs)
    convolution.bias = (wanted - output).mean((0, 2, 3))
    return output + convolution.bias.view(-1, 1, 1)


def _best_scales(weight: Tensor, power: Tensor) -> Tensor:
    """Return the scale of each row with the least rounding error, weighted by the inputs' mean squares."""
    largest = weight.abs().amax(1)
    candidates = torch.stack([largest * share / 127 for share in np.linspace(0.6, 1, 17)])
    errors = torch.stack([((_round(weight, scale) - weight) ** 2 * power).sum(1) for scale in candidates])
    return candidates.gather(0, errors.argmin(0, keepdim=True))[0]


def round_together(weight: Tensor, moments: Tensor, scale: Tensor) -> Tensor:
    """Round rows to multiples of their scales, so that their products with the inputs change least.

    Args:
        weight: [outputs, inputs].
        moments: The inputs' second moments, [inputs, inputs].
        scale: [outputs].
    """
    order = moments.diagonal().argsort(descending=True)
    damped = moments.double() + torch.eye(len(moments)) * _DAMPING * moments.diagonal().mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[order][:, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left, rounded = weight.double()[:, order], torch.zeros(weight.shape, dtype=torch.float64)
    for start in range(0, len(order), 64):
        stop = min(start + 64, len(order))
        errors = torch.zeros(len(weight), stop - start, dtype=torch.float64)
        for column in range(start, stop):
            rounded[:, column] = _round(left[:, column : column + 1], scale.double())[:, 0]
            error = (left[:, column] - rounded[:, column]) / factor[column, column]
            left[:, column:stop] -= error[:, None] * factor[column, column:stop]
            errors[:, column - start] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return rounded[:, order.argsort()].float()


def _round(weight: Tensor, scale: Tensor) -> Tensor:
    return (weight / scale[:, None]).round().clamp(-127, 127) * scale[:, None]


def _best_range(values: Tensor) -> float:
    """Return the upper end of the range with the least squared error of uint8 values."""
    sample = values.flatten()[:: max(1, values.numel() // 400_000)]
    ends = [float(values.max() * share) for share in np.linspace(0.3, 1, 36)]
    return min(ends, key=lambda end: float(((_round_activations(sample, end) - sample) ** 2).mean()))


def _round_activations(values: Tensor, end: float) -> Tensor:
    return (values * (255 / end)).round().clamp(0, 255) * (end / 255)


class _GraphBuilder:
    """Collects the nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def build_quantized(network: Network) -> onnx.ModelProto:
    """Build the graph, with pairs of QuantizeLinear and DequantizeLinear where values are rounded."""
    builder = _GraphBuilder()
    read = {network.pixels: _pad_pixels(builder, network.pixels)}
    strides, thinned = _move_strides(network)
    for number, node in enumerate(network.nodes):
        output = node.output[0]
        if node.op_type == "Conv":
            first = node.input[0] == network.pixels
            convolution = network.convolutions[output]
            stride = strides.get(output, convolution.stride)
            names = _weights(builder, convolution, str(number), first=first)
            padding = 0 if first else convolution.padding
            builder.node(
                "Conv", [read[node.input[0]], *names], output, strides=[stride] * 2, pads=[padding] * 4
            )
        elif node.op_type == "MaxPool":
            pads = _attribute(node, "pads", [0] * 4)
            kernel, step = _attribute(node, "kernel_shape"), _attribute(node, "strides")
            pooled = read[node.input[0]]
            read[output] = builder.node(
                "MaxPool", [pooled], output, kernel_shape=kernel, strides=step, pads=pads
            )
        else:
            inputs = [read.get(name, name) for name in node.input]
            if output in thinned:
                inputs = [
                    _thin(builder, name) if name == read.get(thinned[output]) else name for name in inputs
                ]
            builder.node(node.op_type, inputs, output)
        if output in network.ranges:
            read[output] = _quantize_activations(builder, output, network.ranges[output])
    _finish(builder, network)
    outputs = [(PROBABILITIES, len(network.head[1])), (EMBEDDING, len(network.head[0]))]
    side = PREPROCESSING.crop
    graph = helper.make_graph(
        builder.nodes,
        "open-nsfw-int8",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", side, side, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in outputs],
        list(builder.constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _pad_pixels(builder: _GraphBuilder, name: str) -> str:
    """Pad each channel with its mean, so that the first convolution takes the bytes as they are."""
    builder.node("Transpose", [PIXELS], "planes", perm=[0, 3, 1, 2])
    builder.nodes.append(
        helper.make_node("Split", ["planes"], ["red", "green", "blue"], axis=1, num_outputs=3)
    )
    pads = builder.constant("pads", np.array([0, 0, 3, 3, 0, 0, 3, 3], np.int64))
    padded = [
        builder.node(
            "Pad",
            [plane, pads, builder.constant(f"{plane}_mean", np.array(mean, np.uint8))],
            f"{plane}_padded",
        )
        for plane, mean in zip(("red", "green", "blue"), MEAN_RGB, strict=True)
    ]
    builder.node("Concat", padded, "padded", axis=1)
    zero = builder.constant("zero", np.array(0, np.uint8))
    return builder.node(
        "DequantizeLinear", ["padded", builder.constant("one", np.array(1, np.float32)), zero], name
    )


def _weights(builder: _GraphBuilder, convolution: Convolution, name: str, *, first: bool) -> list[str]:
    """Add a convolution's weight and bias; the first one takes RGB, and the mean that was not subtracted."""
    codes = (convolution.weight / convolution.scale.view(-1, 1, 1, 1)).round().to(torch.int8)
    bias = convolution.bias.double()
    if first:
        mean = torch.tensor(MEAN_RGB[::-1]).double().view(1, 3, 1, 1)
        bias, codes = bias - (convolution.weight.double() * mean).sum((1, 2, 3)), codes.flip(1)
    inputs = [
        builder.constant(f"weight_{name}", codes.numpy()),
        builder.constant(f"scale_{name}", convolution.scale.numpy()),
        builder.constant(f"zero_{name}", np.zeros(len(bias), np.int8)),
    ]
    weight = builder.node("DequantizeLinear", inputs, f"dequantized_{name}", axis=0)
    return [weight, builder.constant(f"bias_{name}", bias.float().numpy())]


def _move_strides(network: Network) -> tuple[dict[str, int], dict[str, str]]:
    """Where only every second pixel of a block's result is read, compute no others.

    Returns:
        The changed strides by convolution; and the sums of which one input, by its name, is to be thinned out.
    """
    strides: dict[str, int] = {}
    thinned: dict[str, str] = {}
    made_by = {node.output[0]: node for node in network.nodes}
    for node in network.nodes:
        readers = [network.convolutions.get(reader.output[0]) for reader in network.readers(node.output[0])]
        if (
            node.op_type != "Relu"
            or not readers
            or any(reader is None or reader.stride != 2 for reader in readers)
        ):
            continue
        total = made_by[node.input[0]]
        last = next(name for name in total.input if made_by[name].op_type == "Conv")
        residual = next(name for name in total.input if name != last)
        middle = made_by[made_by[last].input[0]].input[0]
        strides |= {reader.output[0]: 1 for reader in network.readers(node.output[0])} | {middle: 2}
        thinned[total.output[0]] = residual
    return strides, thinned


def _thin(builder: _GraphBuilder, dequantized: str) -> str:
    """Take every second pixel in both directions."""
    return builder.node("MaxPool", [dequantized], f"{dequantized}_thin", kernel_shape=[1, 1], strides=[2, 2])


def _quantize_activations(builder: _GraphBuilder, name: str, end: float) -> str:
    scale = builder.constant(f"{name}_scale", np.array(end / 255, np.float32))
    builder.node("QuantizeLinear", [name, scale, "zero"], f"{name}_codes")
    return builder.node("DequantizeLinear", [f"{name}_codes", scale, "zero"], f"{name}_values")


def _finish(builder: _GraphBuilder, network: Network) -> None:
    weight, bias = (value.numpy() for value in network.head)
    builder.node("GlobalAveragePool", [network.features], "pooled")
    builder.node("Flatten", ["pooled"], EMBEDDING)
    head = [builder.constant("head_weight", weight), builder.constant("head_bias", bias)]
    builder.node("Gemm", [EMBEDDING, *head], "logits")
    builder.node("Softmax", ["logits"], PROBABILITIES, axis=1)


def _attribute(node: onnx.NodeProto, name: str, default: list[int] | None = None) -> list[int]:
    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return list(found[name] if default is None else found.get(name, default))


if __name__ == "__main__":
    main()
