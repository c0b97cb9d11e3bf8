"""The statistics of batch norm, after what reaches it has changed.

Matching gives each channel the statistics with which, on the same data, it leaves batch norm with the mean
and the variance that it had in the dense network: outputs that became weaker are amplified (Jordan et al.
2022, https://arxiv.org/abs/2211.08403). Where nothing was pruned, nothing changes. Estimating the statistics
anew instead makes the network fit the data: where they are few, or unlike those that it was trained on, it
loses by that alone, also if it is dense.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot._passes import Passes

WAYS = ("match", "reestimate", "keep")
_LEAST = 1e-5  # of the running variance: a channel that varies less on the data tells nothing


@dataclass(frozen=True)
class Statistics:
    """Of what reaches a batch norm in one call.

    Attributes:
        mean: (channels,) float32.
        variance: (channels,) float32, of the population.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Statistics:
        """Return those of (n, channels, ...)."""
        others = [dim for dim in range(inputs.ndim) if dim != 1]
        variance, mean = torch.var_mean(inputs.float(), others, correction=0)
        return cls(mean, variance)


Seen = Mapping[tuple[int, int, int], Statistics]  # by batch, norm and call


def check_way(way: Any) -> None:
    """Raise SettingError unless ``way`` is one of WAYS."""
    if way not in WAYS:
        raise SettingError(f"batch_norm is one of {', '.join(map(repr, WAYS))}; got {way!r}.")


def norms_of(model: nn.Module) -> list[Any]:
    """Return the batch norms with running statistics; not those of rewritten graphs."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@dataclass(frozen=True, eq=False)
class Norms:
    """What is done about the batch norms of a network.

    Attributes:
        passes: the network and the data.
        way: one of WAYS.
        dense: what reached the norms before anything was pruned, where it is to be matched.
    """

    passes: Passes
    way: str
    dense: Seen

    @classmethod
    def of(cls, passes: Passes, way: str) -> Norms:
        """Look at the network as it is.

        Raises:
            SettingError: the data are no batches.
        """
        norms, in_graphs = norms_of(passes.model), _in_graphs(passes.model)
        if way == "keep" or not (norms or in_graphs):
            return cls(passes, "keep", {})
        if not passes.data.has_batches:
            raise SettingError(
                "The statistics of batch norm are set on batches: pass them as data=, or batch_norm='keep'."
            )
        if way == "reestimate" or in_graphs:  # whose norms are no modules that could be watched
            return cls(passes, "reestimate", {})
        return cls(passes, way, _seen(passes, norms))

    def mend(self) -> None:
        """Set the statistics of the network as it is now."""
        if self.way == "reestimate":
            from featherweight.structured.batch_norm import reestimate_batch_norm

            batches = cast("list[Any]", self.passes.data.source)
            reestimate_batch_norm(self.passes.model, batches, batches=len(batches))
        elif self.way == "match":
            _match(self.passes, norms_of(self.passes.model), self.dense)


def matched(norm: Any, before: Statistics, dense: Statistics, now: Statistics) -> Statistics:
    """Return running statistics with which ``now`` leaves a norm as ``dense`` did.

    Args:
        norm: the batch norm, for its epsilon.
        before: its running statistics, by which ``dense`` was normalised.
        dense: what reached it in the dense network.
        now: what reaches it.
    """
    least = _LEAST * (before.variance + norm.eps)
    tells = torch.minimum(dense.variance, now.variance) > least
    ratio = torch.where(tells, now.variance / dense.variance.clamp_min(1e-38), 1.0)
    variance = ((before.variance + norm.eps) * ratio - norm.eps).clamp_min(0)
    return Statistics(now.mean - (dense.mean - before.mean) * ratio.sqrt(), variance)


def _seen(passes: Passes, norms: Sequence[Any]) -> Seen:
    found: dict[tuple[int, int, int], Statistics] = {}

    def note(key: tuple[int, int, int], inputs: Tensor) -> None:
        found[key] = Statistics.of(inputs)

    _watch(passes, norms, note)
    return found


def _match(passes: Passes, norms: Sequence[Any], dense: Seen) -> None:
    before = [Statistics(n.running_mean.float().clone(), n.running_var.float().clone()) for n in norms]
    found: list[list[Statistics]] = [[] for _ in norms]

    def set_(key: tuple[int, int, int], inputs: Tensor) -> None:
        if key in dense:
            place = key[1]
            new = matched(norms[place], before[place], dense[key], Statistics.of(inputs))
            found[place].append(new)
            _write(norms[place], [new])  # for what comes behind it

    _watch(passes, norms, set_)
    for norm, several in zip(norms, found, strict=True):
        if several:
            _write(norm, several)


def _write(norm: Any, several: Sequence[Statistics]) -> None:
    norm.running_mean.copy_(torch.stack([each.mean for each in several]).mean(0))
    norm.running_var.copy_(torch.stack([each.variance for each in several]).mean(0))


def _watch(passes: Passes, norms: Sequence[Any], see: Callable[[tuple[int, int, int], Tensor], None]) -> None:
    """Pass all batches through the network, and have ``see`` called before each call of a norm."""
    batch, calls = 0, Counter[int]()

    def begins(item: Any) -> None:
        nonlocal batch
        batch += 1
        calls.clear()

    def reached(place: int, inputs: Tensor) -> None:
        see((batch, place, calls[place]), inputs)
        calls[place] += 1

    with _hooked(norms, reached):
        passes.run(before=begins)


@contextmanager
def _hooked(norms: Sequence[Any], reached: Callable[[int, Tensor], None]) -> Generator[None]:
    def hook(place: int) -> Callable[..., None]:
        def before(norm: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            reached(place, args[0] if args else kwargs["input"])

        return before

    handles = [norm.register_forward_pre_hook(hook(i), with_kwargs=True) for i, norm in enumerate(norms)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _in_graphs(model: nn.Module) -> bool:
    from featherweight.structured.graph_module import RewrittenModule

    return any(isinstance(module, RewrittenModule) and module.batch_norms() for module in model.modules())
