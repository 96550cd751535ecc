from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from loops import Average, Log, batches, load, save, set_rates, warmed_up


def test_the_learning_rate_rises_in_the_first_steps() -> None:
    assert warmed_up(0) == pytest.approx(0.01)
    assert warmed_up(49) == pytest.approx(0.5)
    assert warmed_up(99) == warmed_up(10**6) == 1.0
    assert warmed_up(4, warmup=10) == pytest.approx(0.5)


def test_learning_rates_are_fractions_of_the_first_one() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    trained = [torch.optim.SGD([weights[0]], 0.4), torch.optim.SGD([weights[1]], 0.1)]
    for share in (0.5, 1.0, 0.25):
        set_rates(trained, share)
        rates = [optimiser.param_groups[0]["lr"] for optimiser in trained]
        assert rates == pytest.approx([0.4 * share, 0.1 * share])


# Checkpoints


def test_a_checkpoint_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    assert load(path) is None
    save(path, net={"weight": torch.arange(3)}, step=7)
    save(path, net={"weight": torch.arange(3) + 1}, step=8)
    last = load(path)
    assert last is not None
    assert last["step"] == 8
    assert last["net"]["weight"].tolist() == [1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    save(path, step=7)

    def killed(_: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save(path, step=8)
    last = load(path)
    assert last is not None
    assert last["step"] == 7


# The moving average of the weights


def one_weight(value: float) -> nn.Module:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    return net


def test_the_average_has_the_given_decay() -> None:
    net = one_weight(0.0)
    average = Average(net, 0.9)
    nn.init.ones_(net.weight)
    for step in range(1000, 1020):
        average.update(net, step)
    assert float(average.values["weight"]) == pytest.approx(1 - 0.9**20, abs=1e-5)


def test_early_steps_are_forgotten_sooner() -> None:
    net = one_weight(0.0)
    early, late = Average(net, 0.998), Average(net, 0.998)
    nn.init.ones_(net.weight)
    early.update(net, 0)
    late.update(net, 10**5)
    assert float(early.values["weight"]) == pytest.approx(0.9)
    assert float(late.values["weight"]) == pytest.approx(0.002)


def test_the_average_is_a_copy_and_keeps_integers() -> None:
    net = nn.BatchNorm1d(2)
    average = Average(net, 0.9)
    net.weight.data.fill_(3)
    net.num_batches_tracked.fill_(5)
    assert average.values["weight"].tolist() == [1, 1]
    average.update(net, 10**5)
    assert average.values["weight"].tolist() == pytest.approx([1.2, 1.2])
    assert int(average.values["num_batches_tracked"]) == 0


# Batches and the log


def test_every_index_is_used_once_an_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    epochs = list(islice(batches(12, 4, generator), 6))
    assert all(len(batch) == 4 for batch in epochs)
    first, second = (torch.cat(epochs[start : start + 3]) for start in (0, 3))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(12))
    assert first.tolist() != second.tolist()


def test_an_incomplete_batch_is_left_to_the_next_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    taken = list(islice(batches(10, 4, generator), 40))
    assert {len(batch) for batch in taken} == {4}
    assert set(torch.cat(taken).tolist()) == set(range(10))


def test_a_log_line_has_the_mean_since_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(2)
    for step, loss in enumerate([1.0, 2.0, 5.0, 6.0, 9.0], start=1):
        log.add(step, 8, loss=loss)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("step 2 ")
    assert first.endswith("loss 1.5000")
    assert second.startswith("step 4 ")
    assert second.endswith("loss 5.5000")
