from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from muon import Muon, optimisers, orthogonalised

WELL_CONDITIONED = [(8, 8), (16, 64), (64, 16), (32, 288), (1, 9)]


def random_matrix(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", WELL_CONDITIONED)
def test_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    out = orthogonalised(random_matrix(*shape))
    assert out.shape == shape
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("smallest", [0.3, 0.1, 0.01])
def test_the_result_is_within_a_quarter_of_the_nearest_orthogonal_matrix(smallest: float) -> None:
    """Singular vectors stay; all singular values become about one."""
    left, _, right = torch.linalg.svd(random_matrix(16, 32), full_matrices=False)
    out = orthogonalised(left @ torch.diag(torch.linspace(smallest, 1, 16)) @ right)
    nearest = left @ right
    assert (out - nearest).norm() < 0.25 * nearest.norm()
    inner = left.T @ out @ right.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-3


def test_the_scale_of_the_matrix_has_no_effect() -> None:
    matrix = random_matrix(16, 64)
    torch.testing.assert_close(orthogonalised(1e-3 * matrix), orthogonalised(matrix), atol=1e-3, rtol=0)
    assert not orthogonalised(torch.zeros(4, 4)).any()


def test_a_tall_matrix_is_a_transposed_wide_one() -> None:
    matrix = random_matrix(64, 16)
    torch.testing.assert_close(orthogonalised(matrix), orthogonalised(matrix.T).T)


@pytest.mark.parametrize("shape", [(32, 64), (16, 8, 3, 3)])
def test_a_step_is_as_long_as_one_of_adams(shape: tuple[int, ...]) -> None:
    """About 0.2 lr for each weight, root mean square; a kernel counts as a matrix of its output channels."""
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = random_matrix(*shape)
    Muon([weight], lr=0.5).step()
    length = weight.detach().pow(2).mean().sqrt()
    assert float(length) == pytest.approx(0.2 * 0.5, rel=0.2)
    assert (weight.detach() * weight.grad).sum() < 0


def test_momentum_continues_when_the_gradient_changes_sign() -> None:
    weight = nn.Parameter(torch.zeros(4, 4))
    optimiser = Muon([weight], lr=1.0)
    for _ in range(20):
        weight.grad = torch.eye(4)
        optimiser.step()
    before = weight.detach().clone()
    weight.grad = -0.1 * torch.eye(4)
    optimiser.step()
    assert (weight.detach() - before).trace() < 0


def test_weights_without_a_gradient_stay() -> None:
    weight = nn.Parameter(random_matrix(4, 4))
    before = weight.detach().clone()
    Muon([weight], lr=1.0).step()
    assert torch.equal(weight, before)


def test_matrices_use_muon_and_the_rest_adam() -> None:
    net = nn.Sequential(nn.Embedding(5, 8), nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2))
    net[3].weight.requires_grad_(False)
    muon, adam = optimisers(net, 0.1, 0.01)
    own, rest = ([p for group in each.param_groups for p in group["params"]] for each in (muon, adam))
    assert [id(p) for p in own] == [id(net[1].weight)]
    assert {id(p) for p in rest} == {
        id(p) for p in (net[0].weight, net[1].bias, net[2].weight, net[2].bias, net[3].bias)
    }
    assert (muon.param_groups[0]["lr"], adam.param_groups[0]["lr"]) == (0.1, 0.01)


def test_a_network_learns_with_both() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    inputs, wanted = torch.randn(64, 8), torch.randn(8, 4)
    trained, losses = optimisers(net, 0.1, 0.02), []
    for _ in range(60):
        loss = (net(inputs) - inputs @ wanted).pow(2).mean()
        loss.backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
