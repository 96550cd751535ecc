from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from safelight.runtime.quantization.formats import Gguf, Int8
from safelight.runtime.quantization.tensor import QuantizedTensor, stored_nbytes, to_precision


def quantize(rows: int = 8, columns: int = 64, group: int = 32) -> QuantizedTensor:
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(-127, 128, (rows, columns), generator=generator, dtype=torch.int8)
    scales = torch.rand(rows, columns // group, generator=generator)
    return QuantizedTensor(Int8(group), {"codes": codes, "scales": scales}, (rows, columns))


def linear(tensor: torch.Tensor) -> nn.Linear:
    module = nn.Linear(tensor.shape[1], tensor.shape[0], device="meta")
    module.load_state_dict(
        {"weight": tensor, "bias": torch.ones(tensor.shape[0], dtype=tensor.dtype)}, assign=True
    )
    return module.requires_grad_(False)


Change = Callable[[torch.Tensor], torch.Tensor]
MODES = pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
STAYS_PACKED: dict[str, Change] = {
    "rows": lambda t: t[2:5],
    "chunk": lambda t: t.chunk(2)[1],
    "split": lambda t: t.split([3, 5])[1],
    "narrow": lambda t: t.narrow(0, 2, 3),
    "cat": lambda t: torch.cat([t, t[:3]]),
    "t": lambda t: t.t(),
    "T": lambda t: t.T,
    "permute": lambda t: t.permute(1, 0).transpose(0, 1),
    "reshape": lambda t: t.reshape(8, 4, 16),
    "to a convolution": lambda t: t[:, :, None, None],
    "from a convolution": lambda t: t.view(8, 64, 1, 1)[:, :, 0, 0],
    "squeeze": lambda t: t.view(8, 64, 1).squeeze(2),
    "detach": lambda t: t.detach().contiguous().cpu(),
    "clone": lambda t: t.clone(),
    "data": lambda t: t.data,
    "float64": lambda t: t.to(torch.float64),
}
BECOMES_PLAIN: dict[str, Change] = {
    "sum": lambda t: t + 1,
    "column": lambda t: t[:, 3],
    "every other row": lambda t: t[::2],
    "chosen rows": lambda t: t[[1, 2]],
    "cat to the side": lambda t: torch.cat([t, t], dim=1),
    "product": lambda t: t @ t.t(),
    "flatten": lambda t: t.flatten(),
    "integers": lambda t: t.to(torch.int32),
}


@MODES
@pytest.mark.parametrize("change", STAYS_PACKED.values(), ids=STAYS_PACKED.keys())
def test_what_stays_packed(change: Change, mode: Callable[[], AbstractContextManager[None]]) -> None:
    tensor = quantize()
    plain = tensor.dequantize()
    with mode():
        changed, expected = change(tensor), change(plain)
    assert isinstance(changed, QuantizedTensor)
    assert changed.dtype == expected.dtype
    assert torch.allclose(changed.dequantize(), expected, rtol=1e-6)


@MODES
@pytest.mark.parametrize("change", BECOMES_PLAIN.values(), ids=BECOMES_PLAIN.keys())
def test_what_dequantizes(change: Change, mode: Callable[[], AbstractContextManager[None]]) -> None:
    tensor = quantize()
    with mode():
        changed, expected = change(tensor), change(tensor.dequantize())
    assert type(changed) is torch.Tensor
    assert torch.equal(changed, expected)


@MODES
def test_layers_compute_as_with_the_dequantized_weight(
    mode: Callable[[], AbstractContextManager[None]],
) -> None:
    tensor = quantize()
    plain = tensor.dequantize()
    x = torch.randn(3, 64)
    convolution = nn.Conv2d(4, 8, 4, bias=False, device="meta")
    convolution.load_state_dict({"weight": tensor.view(8, 4, 4, 4)}, assign=True)
    embedding = nn.Embedding(8, 64, device="meta")
    embedding.load_state_dict({"weight": tensor}, assign=True)
    image, index = torch.randn(2, 4, 9, 9), torch.tensor([[0, 7], [3, 3]])
    with mode():
        assert torch.equal(linear(tensor)(x), F.linear(x, plain, torch.ones(8)))
        assert torch.equal(convolution(image), F.conv2d(image, plain.view(8, 4, 4, 4)))
        assert torch.equal(embedding(index), F.embedding(index, plain))
        assert torch.equal(x @ tensor.t(), x @ plain.t())
        assert linear(tensor)(x.bfloat16().float()).dtype == torch.float32


def test_a_layer_computes_in_the_type_of_its_input() -> None:
    module = linear(quantize()).to(torch.bfloat16)
    assert isinstance(module.weight, QuantizedTensor)
    assert module.weight.dtype == torch.bfloat16
    assert module(torch.randn(2, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_module_holds_it_as_a_parameter() -> None:
    module = linear(quantize())
    assert isinstance(module.weight, nn.Parameter)
    assert isinstance(module.state_dict()["weight"], QuantizedTensor)
    copied = copy.deepcopy(module)
    assert isinstance(copied.weight, nn.Parameter)
    assert copied.weight.packed_codes.data_ptr() != module.weight.packed_codes.data_ptr()
    assert torch.equal(copied.weight.dequantize(), module.weight.dequantize())
    assert stored_nbytes(module.weight) == 8 * 64 + 8 * 2 * 4 < module.weight.nbytes


def test_it_moves_between_devices_with_its_module() -> None:
    module = linear(quantize()).to("meta")
    assert isinstance(module.weight, QuantizedTensor)
    assert (
        {part.device.type for part in module.weight.packed.values()}
        == {"meta"}
        == {module.weight.device.type}
    )
    module.weight.data = quantize()  # as offloading does
    assert module.weight.device.type == "cpu"
    assert isinstance(module.weight, nn.Parameter)


def test_load_state_dict_copies_into_an_equal_one() -> None:
    module, other = linear(quantize()), linear(quantize())
    with torch.no_grad():
        other.weight.packed_codes.zero_()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.weight.dequantize(), module.weight.dequantize())
    with pytest.raises(RuntimeError, match="changed in place"):
        other.load_state_dict({"weight": torch.zeros(8, 64), "bias": torch.zeros(8)})


def test_it_is_not_changed_in_place() -> None:
    tensor = quantize()
    for change in (lambda: tensor.add_(1), lambda: tensor.copy_(torch.ones(8, 64)), lambda: tensor.zero_()):
        with pytest.raises(TypeError, match="changed in place"):
            change()
    with pytest.raises(TypeError, match="data of a plain one"):
        tensor.data = torch.zeros(8, 64)
    target = torch.zeros(8, 64)
    target.copy_(tensor)
    target.add_(tensor)
    assert torch.equal(target, tensor.dequantize() * 2)


def test_it_can_be_pickled() -> None:
    tensor = quantize()
    assert torch.equal(pickle.loads(pickle.dumps(tensor)).dequantize(), tensor.dequantize())


def test_it_runs_without_memory_on_a_device_that_is_not_there() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        parts = {"codes": torch.empty(8, 64, dtype=torch.int8), "scales": torch.empty(8, 2)}
        module = linear(QuantizedTensor(Int8(32), parts, (8, 64), torch.float16))
        result = module(torch.empty(3, 64, dtype=torch.float16))
        assert (result.device.type, result.dtype, tuple(result.shape)) == ("cuda", torch.float16, (3, 8))
        with pytest.raises(RuntimeError, match="device"):
            module(torch.empty(3, 64, dtype=torch.float16, device="cpu"))
    mode = FakeTensorMode()
    fake = mode.from_tensor(quantize())
    assert isinstance(fake, QuantizedTensor)
    with mode:
        assert F.linear(torch.empty(3, 64), fake).shape == (3, 8)


def test_threads_share_it() -> None:
    module, x = linear(quantize()), torch.randn(3, 64)
    expected, results = module(x), []
    threads = [Thread(target=lambda: results.append(module(x))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(torch.equal(result, expected) for result in results)


def test_rows_are_dequantized_where_a_block_covers_two() -> None:
    tensor = QuantizedTensor(Gguf("Q8_0"), {"blocks": torch.ones(3, 34, dtype=torch.uint8)}, (2, 48))
    assert type(tensor[:1]) is torch.Tensor
    assert torch.equal(tensor[:1], tensor.dequantize()[:1])
    assert torch.equal(F.embedding(torch.tensor([1]), tensor), tensor.dequantize()[1:])


def test_to_precision_keeps_it_packed() -> None:
    tensor = to_precision(quantize(), torch.float16)
    assert isinstance(tensor, QuantizedTensor)
    assert (tensor + 0).dtype == torch.float16
    assert to_precision(torch.zeros(3), torch.float16).dtype == torch.float16
    assert stored_nbytes(torch.zeros(3)) == 12
