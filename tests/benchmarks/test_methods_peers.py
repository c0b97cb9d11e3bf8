"""The table of peers, the count of lines, and that each peer at hand prunes as much as was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from benchmarks.methods.peers import PEERS, Run, lines_of, perform, table, wanted
from benchmarks.methods.strategies import SMOKE, Effort
from torch import nn

import featherweight as fw

AT_HAND = [name for name, peer in PEERS.items() if not peer.fetched]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def record(run: Run, test: float, zeros: int = 900) -> dict[str, Any]:
    figures = {
        "test": test,
        "zeros": zeros,
        "prunable": 1000,
        "seconds_pruning": 0.5,
        "seconds_training": 60.0,
    }
    return asdict(run) | figures


def test_lines_are_those_that_a_user_writes() -> None:
    def three(model: nn.Module) -> None:
        """Say something."""
        # Not this.
        for part in model.modules():
            print(part)
        print()

    assert lines_of(three) == 3
    assert lines_of(PEERS["featherweight"].prune) == 2


def test_the_table_has_accuracy_by_level_and_what_was_missed() -> None:
    effort = Effort(2, 10)
    runs = wanted("net", effort, 2, [0.9, 0.98], ["torch"])
    done = [record(run, 0.8 + 0.1 * run.seed, 900 if run.sparsity == 0.9 else 978) for run in runs]
    row = next(line for line in table(done, "net", effort).splitlines() if "torch.nn" in line)
    spread = "85.00 ± 7.07 (2)"
    lines = lines_of(PEERS["torch"].prune)
    assert row.endswith(f"| {spread} | {spread} | 2 | 0.50 ± 0.00 (4) | 60 ± 0 (4) | {lines} |")
    assert "not run" in table(done, "net", Effort(3, 10), [0.9])
    assert "2 epochs of 10 batches of 128 images" in table(done, "net", effort).splitlines()[0]


@pytest.mark.parametrize("name", AT_HAND)
@pytest.mark.filterwarnings("ignore")
def test_a_peer_prunes_and_holds_its_zeros_while_training(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 10))

    def train(sparse: nn.Module, pruner: fw.Pruner | None = None) -> None:
        optimizer = torch.optim.SGD(sparse.parameters(), 0.5, momentum=0.9)
        if pruner is not None:
            pruner.attach(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            sparse(torch.ones(2, 20)).square().sum().backward()
            optimizer.step()

    sparse = PEERS[name].prune(model, 0.8, torch.ones(1, 20), train)
    weights = dict(sparse.named_parameters())
    assert sum(int((weights[f"{layer}.weight"] == 0).sum()) for layer in (0, 2)) == 240


@pytest.mark.parametrize("name", ["torch"])
def test_a_run_has_the_record_of_its_peer(name: str) -> None:
    run = Run(SMOKE, name, 0.9, 0, 1, 11)
    found = perform(run)
    assert asdict(run).items() <= found.items()
    assert found["zeros"] == found["prunable"] - round(0.1 * found["prunable"])
    assert found["seconds_training"] > 0


def test_nothing_pruned_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(model: nn.Module, sparsity: float, example: Any, train: Callable[..., None]) -> nn.Module:
        train(model)
        return model

    monkeypatch.setitem(PEERS, "torch", type(PEERS["torch"])("nothing", nothing))
    assert perform(Run(SMOKE, "torch", 0.9, 0, 1, 11))["zeros"] < 100


def test_a_library_that_breaks_off_on_a_network_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: nn.Module, *_: Any) -> nn.Module:
        raise RuntimeError("shape '[1, 1, 288]' is invalid")

    for name in ("torch_ao", "featherweight"):
        monkeypatch.setitem(PEERS, name, replace(PEERS[name], prune=fails))
    [run, ours] = wanted(SMOKE, Effort(1, 1), 1, [0.9], ["torch_ao", "featherweight"])
    done = [perform(run)]
    assert done[0]["failed"] == "shape '[1, 1, 288]' is invalid"
    assert "| torch.ao.pruning, layer by layer | fails |" in table(done, SMOKE, Effort(1, 1), [0.9])
    with pytest.raises(RuntimeError, match="invalid"):
        perform(ours)
