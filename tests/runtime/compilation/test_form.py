"""Compiled forms of each layout of networks compute what the eager network computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import TINY
from torch import Tensor, nn

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import FormNetwork, form_engine, form_key, make_form
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.compile_cache import CompileCache
from safelight.runtime.component import ComponentKey

FP32 = BackendPlan("openvino", "fp32", 1)
Arguments = dict[str, Any]


@cache
def network(family: str, component: str) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = getattr(TINY[family](), component).eval().requires_grad_(False)
    return found


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def sd_unet(unet: Any) -> Arguments:
    width = unet.config.cross_attention_dim
    text = random(2, 7, width)
    return {"sample": random(2, 4, 8, 8), "timestep": torch.tensor(300), "encoder_hidden_states": text}


def sdxl_unet(unet: Any) -> Arguments:
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    more = {"text_embeds": random(2, pooled), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
    return sd_unet(unet) | {"added_cond_kwargs": more}


def sd3(transformer: Any) -> Arguments:
    config = transformer.config
    return {
        "hidden_states": random(2, config.in_channels, 8, 8),
        "encoder_hidden_states": random(2, 7, config.joint_attention_dim),
        "pooled_projections": random(2, config.pooled_projection_dim),
        "timestep": torch.tensor([500.0, 500.0]),
    }


def flux(transformer: Any) -> Arguments:
    config = transformer.config
    grid = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return {
        "hidden_states": random(1, 16, config.in_channels),
        "encoder_hidden_states": random(1, 7, config.joint_attention_dim),
        "pooled_projections": random(1, config.pooled_projection_dim),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "img_ids": grid,
        "txt_ids": torch.zeros(7, 3),
    }


def z_image(transformer: Any) -> Arguments:
    config = transformer.config
    pictures = [random(config.in_channels, 1, 8, 8)] * 2
    captions = [random(5, config.cap_feat_dim), random(9, config.cap_feat_dim)]
    return {"x": pictures, "t": torch.tensor([0.3, 0.3]), "cap_feats": captions}


CALLS: dict[str, tuple[str, str, str, Callable[[Any], Arguments]]] = {
    "Stable Diffusion": ("sd1", "unet", "forward", sd_unet),
    "SDXL": ("sdxl", "unet", "forward", sdxl_unet),
    "SD3": ("sd3", "transformer", "forward", sd3),
    "Flux": ("flux", "transformer", "forward", flux),
    "Z-Image": ("z-image", "transformer", "forward", z_image),
    "encoding": ("sd1", "vae", "encode", lambda _: {"x": random(1, 3, 32, 32)}),
    "decoding": ("sd1", "vae", "decode", lambda _: {"z": random(1, 4, 8, 8), "generator": torch.Generator()}),
    "CLIP": (
        "sd1",
        "text_encoder",
        "forward",
        lambda _: {"input_ids": torch.arange(9)[None], "output_hidden_states": True},
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> CompileCache:
    return CompileCache(tmp_path, 10**9)


def tensors(value: Any) -> list[Tensor]:
    from safelight.runtime.compilation.values import tensors_of

    return tensors_of(value)


@pytest.mark.parametrize("name", CALLS)
def test_a_form_computes_what_the_eager_network_computes(name: str, store: CompileCache) -> None:
    family, component, method, arguments = CALLS[name]
    module = network(family, component)
    given = arguments(module)
    key = ComponentKey("0" * 64, "fp32")
    stored = make_form(module, key, NetworkCall.of(module, method, (), given), FP32, store)
    form = form_engine("openvino").load(stored.folder, FP32)
    computed = FormNetwork(module, method, form, stored.result)(**given)
    with torch.no_grad():
        expected = getattr(module, method)(**given)
    assert type(computed) is type(expected)
    assert len(tensors(computed)) == len(tensors(expected)) > 0
    for ours, theirs in zip(tensors(computed), tensors(expected), strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_in_bf16_it_takes_and_returns_bf16(store: CompileCache) -> None:
    torch.manual_seed(0)
    vae = TINY["sd1"]().vae.eval().requires_grad_(False).to(torch.bfloat16)
    plan = BackendPlan("openvino", "bf16", 1)
    latents = random(1, 4, 8, 8).to(torch.bfloat16)
    call = NetworkCall.of(vae, "decode", (latents,), {"return_dict": False})
    stored = make_form(vae, ComponentKey("0" * 64, "bf16"), call, plan, store)
    form = form_engine("openvino").load(stored.folder, plan)
    (computed,) = FormNetwork(vae, "decode", form, stored.result)(latents, return_dict=False)
    (expected,) = vae.decode(latents, return_dict=False)
    assert computed.dtype == torch.bfloat16
    assert (computed - expected).norm() < 0.05 * expected.norm()


class Forgetful(nn.Module):
    """Computes something else once it is traced, as networks do that decide by values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + float(x.sum())


def test_a_form_that_computes_something_else_is_refused(store: CompileCache, monkeypatch: Any) -> None:
    module = Forgetful()
    call = NetworkCall.of(module, "forward", (torch.ones(2, 3),), {})
    monkeypatch.setattr("safelight.runtime.backends.openvino_forms._trace", traced_with_zeros)
    with pytest.raises(BackendError, match="differs from the eager network by"):
        make_form(module, ComponentKey("0" * 64, "fp32"), call, FP32, store)
    assert store.find(form_key(ComponentKey("0" * 64, "fp32"), call, "openvino")) is None
    assert store.count == 0


def traced_with_zeros(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    import openvino as ov

    zeros = tuple(map(torch.zeros_like, example))
    return ov.convert_model(module, example_input=zeros, input=[list(each.shape) for each in example])


def test_a_network_that_cannot_be_traced_is_an_error_that_says_why(store: CompileCache) -> None:
    class Complex(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x).real

    module = Complex()
    call = NetworkCall.of(module, "forward", (torch.eye(3),), {})
    with pytest.raises(BackendError, match="openvino cannot convert it"):
        make_form(module, ComponentKey("0" * 64, "fp32"), call, FP32, store)
