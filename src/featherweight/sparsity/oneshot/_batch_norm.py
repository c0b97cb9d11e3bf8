"""The statistics of batch norm, after what reaches it has changed.

Matching gives each channel the statistics with which, on the same data, it leaves batch norm with the mean
and the variance that it had in the dense network: outputs that became weaker are amplified (Jordan et al.
2022, https://arxiv.org/abs/2211.08403). Where nothing was pruned, nothing changes. Estimating the statistics
anew instead makes the network fit the data: where they are few, or unlike those that it was trained on, it
loses by that alone, also if it is dense.

Where all batches are one, a norm is matched when the forward pass comes to it, so that the layer behind it is
pruned for what it gets. Otherwise it is matched in the pass that looks at the inputs of that layer: while
that runs, a norm has the statistics that the batches until then ask for; after it, those of all of them. What
changed later still (a norm that is called several times, one in a branch that few batches take) is matched in
a last pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.eager import eager
from featherweight.core.skip import matches_any, names_of_statistics
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.oneshot._passes import Passes

_LEAST = 1e-5  # of the running variance: a channel that varies less on the data tells nothing


@dataclass(frozen=True)
class Pool:
    """How many values reached each channel, their mean and variance.

    Attributes:
        count: of values.
        mean: (channels,) float64.
        variance: (channels,) float64, of the population.
    """

    count: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Pool | None:
        """Return that of (n, channels, ...); None where there is no value."""
        channels = inputs.shape[1]
        if not inputs.numel():
            return None
        others = [dim for dim in range(inputs.ndim) if dim != 1]
        variance, mean = torch.var_mean(inputs.detach().to(_wide(inputs)), others, correction=0)
        return cls(inputs.numel() // channels, _double(mean), _double(variance))

    def with_(self, other: Pool | None) -> Pool:
        """Return that of the values of both (Chan, Golub, LeVeque 1979)."""
        if other is None:
            return self
        count = self.count + other.count
        share = other.count / count
        step = other.mean - self.mean
        variance = self.variance * (1 - share) + other.variance * share + step.square() * share * (1 - share)
        return Pool(count, self.mean + step * share, variance)


Statistics = tuple[Tensor, Tensor]  # running mean and variance, (channels,)
Place = tuple[int, str, int]  # batch, norm, and which of its calls


def matched(eps: float, before: Statistics, dense: Pool, now: Pool) -> Statistics:
    """Return running statistics with which ``now`` leaves a norm as ``dense`` did.

    Args:
        eps: of the norm.
        before: its running statistics, by which ``dense`` was normalised.
        dense: what reached it in the dense network.
        now: what reaches it.
    """
    mean, variance = (_double(each) for each in before)
    tells = torch.minimum(dense.variance, now.variance) > _LEAST * (variance + eps)
    ratio = torch.where(tells, now.variance / dense.variance.clamp_min(1e-300), 1.0)
    wanted = ((variance + eps) * ratio - eps).clamp_min(0)
    ratio = (wanted + eps) / (variance + eps)
    return now.mean - (dense.mean - mean) * ratio.sqrt(), wanted


class Norms:
    """The batch norms of a network while its layers are pruned one after the other."""

    def __init__(self, passes: Passes, way: str, skip: Sequence[str] = ()) -> None:
        """Begin with the network as it is: a pass within ``looking`` comes next.

        Args:
            passes: the network and the data.
            way: as ``prune_oneshot`` takes it.
            skip: norms to leave alone.

        Raises:
            SettingError: the data are no batches.
        """
        self._passes, self._way = passes, way
        self._norms = {} if way == "keep" else _norms_of(passes.model, skip)
        if self._norms and not passes.data.has_batches:
            raise SettingError(
                "The statistics of batch norm are set on batches: pass them as data=, or batch_norm='keep'."
            )
        self._before = {n: (m.running_mean.clone(), m.running_var.clone()) for n, m in self._norms.items()}
        self._dense: dict[Place, Pool] = {}
        self._open = set(self._norms) if way == "match" else set[str]()
        self._calls = Counter[str]()
        self._settled = set[str]()

    @contextmanager
    def looking(self) -> Generator[Callable[[], None]]:
        """Note what reaches the norms in a pass within the block; to be told when a batch begins."""

        def note(place: Place, inputs: Tensor) -> None:
            if place[1] in self._open and (pool := Pool.of(inputs)) is not None:
                self._dense[place] = pool
                self._calls[place[1]] += 1

        with self._watched(note) as begins:
            yield begins

    @contextmanager
    def matching_on_the_way(self, go_on_if: Callable[[bool], None]) -> Generator[Callable[[], None]]:
        """Match norms for good when a pass over a single batch within the block comes to them.

        It is to be told when the batch begins.

        Args:
            go_on_if: called with whether the pass shows all that a norm gets, which it does not where that is
                called several times; raises to leave the pass.
        """

        def match(place: Place, inputs: Tensor) -> None:
            name = place[1]
            if name not in self._open:
                return
            go_on_if(self._calls[name] <= 1)
            pools: dict[str, tuple[Pool, Pool]] = {}
            if self._pooled(pools, place, inputs):
                self._match(name, *pools[name])
                self._settled.add(name)
                self._open.discard(name)

        with self._watched(match) as begins:
            yield begins

    @contextmanager
    def matching(self, before_layers: Callable[[], bool]) -> Generator[Callable[[], None]]:
        """Match the norms that a pass within the block comes to first; to be told when a batch begins.

        Args:
            before_layers: whether the pass has not come yet to the layers that are to be pruned.
        """
        pools: dict[str, tuple[Pool, Pool]] = {}
        seen = Counter[str]()

        def match(place: Place, inputs: Tensor) -> None:
            name = place[1]
            if name in self._open and before_layers() and self._pooled(pools, place, inputs):
                seen[name] += 1
                self._match(name, *pools[name])

        with self._watched(match) as begins:
            yield begins
        settled = {name for name, count in seen.items() if count == self._calls[name]}
        self._settled |= settled
        self._open -= settled

    def _pooled(self, pools: dict[str, tuple[Pool, Pool]], place: Place, inputs: Tensor) -> bool:
        """Add a call, as it was and as it is, to the pools of its norm; whether there was anything to add."""
        dense, now = self._dense.get(place), Pool.of(inputs)
        if dense is None or now is None:
            return False
        before = pools.get(place[1])
        pools[place[1]] = (dense, now) if before is None else (before[0].with_(dense), before[1].with_(now))
        return True

    def _match(self, name: str, dense: Pool, now: Pool) -> None:
        self._write(name, matched(self._norms[name].eps, self._before[name], dense, now))

    @property
    def names(self) -> list[str]:
        """Names of those that are watched."""
        return sorted(self._norms)

    def settled(self) -> dict[str, Tensor]:
        """Return the statistics of the norms settled since the last call, (2, channels): mean, variance."""
        norms = {name: self._norms[name] for name in sorted(self._settled)}
        self._settled = set()
        return {name: torch.stack([norm.running_mean, norm.running_var]) for name, norm in norms.items()}

    def settle(self, found: Mapping[str, Tensor]) -> None:
        """Take over what ``settled`` returned in another process."""
        for name, (mean, variance) in found.items():
            self._write(name, (mean, variance))
            self._open.discard(name)

    def finish(self, batches: Sequence[Any]) -> None:
        """Set the statistics that are still to be set, now that all layers are pruned.

        Args:
            batches: of the data, as they were given.
        """
        if self._way == "reestimate" and self._norms:
            from featherweight.structured.batch_norm import reestimate_batch_norm

            reestimate_batch_norm(self._passes.model, batches, batches=len(batches))
        if self._open:
            with eager(), self.matching(lambda: True) as begins:
                self._passes.run(before=lambda batch: begins())
        if self._way == "match" and self._norms:
            self._match_all()

    def _match_all(self) -> None:
        """Match every norm to what reaches it now, with all others as they are."""
        pools: dict[str, tuple[Pool, Pool]] = {}
        with eager(), self._watched(lambda place, x: self._pooled(pools, place, x)) as begins:
            self._passes.run(before=lambda batch: begins())
        for name, (dense, now) in pools.items():
            self._match(name, dense, now)

    def _write(self, name: str, statistics: Statistics) -> None:
        if not all(bool(each.isfinite().all()) for each in statistics):
            raise ModelError(f"What reaches {name} is not finite.")
        norm = self._norms[name]
        norm.running_mean.copy_(statistics[0])
        norm.running_var.copy_(statistics[1])

    @contextmanager
    def _watched(self, see: Callable[[Place, Tensor], Any]) -> Generator[Callable[[], None]]:
        """Call ``see`` before each call of a norm; to be told when a batch begins."""
        batch, calls = 0, Counter[str]()

        def begins() -> None:
            nonlocal batch
            batch += 1
            calls.clear()

        def hook(name: str) -> Callable[..., None]:
            def reached(norm: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
                calls[name] += 1
                see((batch, name, calls[name]), args[0] if args else kwargs["input"])

            return reached

        handles = [m.register_forward_pre_hook(hook(n), with_kwargs=True) for n, m in self._norms.items()]
        try:
            yield begins
        finally:
            for handle in handles:
                handle.remove()


def _norms_of(model: nn.Module, skip: Sequence[str]) -> dict[str, Any]:
    """Return the batch norms with running statistics by name, without those to leave alone."""
    return {
        several[0].rpartition(".")[0]: norm
        for norm, several in names_of_statistics(model).items()
        if not any(matches_any(pattern, [several]) for pattern in skip)
    }


def _wide(inputs: Tensor) -> torch.dtype:
    """Return the type to sum in: at least float32."""
    return torch.promote_types(inputs.dtype, torch.float32)


def _double(tensor: Tensor) -> Tensor:
    """Return it in float64, where the device has that."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
