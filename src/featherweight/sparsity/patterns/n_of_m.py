"""N:M: of each M consecutive inputs at most N are kept (Zhou et al. 2021, https://arxiv.org/abs/2102.04010).

2:4 is what NVIDIA's sparse tensor cores take (Mishra et al. 2021, https://arxiv.org/abs/2104.08378). A group
that the end of a row cuts short to L inputs keeps at most ``ceil(N L / M)``.

Where more is to be kept than N:M allows (a schedule on its way to it), the smallest N' that allows it takes
the place of N, and each group keeps N' or N' - 1: then every later N finds enough in each group, and the
last mask is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.core.mask import Mask
from featherweight.errors import SettingError
from featherweight.sparsity.patterns._base import RowPattern, Shape, is_alive, patterns


@patterns.form("2:4", r"(\d+):(\d+)", "N:M (at most N of M consecutive inputs, such as 4:8)")
@dataclass(frozen=True)
class NM(RowPattern):
    """At most N of each M consecutive inputs are kept: 2:4 and the like.

    Attributes:
        n: how many are kept of a group, 1 <= n < m.
        m: how long a group is.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        whole = all(isinstance(number, int) for number in (self.n, self.m))  # pyright: ignore
        if not whole or not 1 <= self.n < self.m:
            raise SettingError(
                f"N:M keeps N of M, 1 <= N < M, such as 2:4 for half of the weights; got {self.n}:{self.m}."
            )

    def most(self, shapes: Sequence[Shape]) -> int:
        """Return how many weights N:M lets be kept."""
        return _capacity(shapes, self.n, self.m)

    def restrict(self, scores: Mapping[str, Tensor], kept: int) -> Mapping[str, Tensor]:
        """Return scores that are -inf outside of the best N (or N') of each group."""
        n = self._on_the_way([score.shape for score in scores.values()], kept)
        return {name: _best(score, _ranks(score, self.m), n, self.m) for name, score in scores.items()}

    def floors(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return how many weights must stay; on the way to N:M, N' - 1 of each group."""
        n = self._on_the_way([score.shape for score in scores.values()], kept)
        if n == self.n:
            return super().floors(scores, kept)
        return {name: int(torch.count_nonzero(self._staying(score, n))) for name, score in scores.items()}

    def mask(self, scores: Tensor, kept: int) -> Mask:
        """Return the mask of the highest scores that N:M (or N':M) allows."""
        n = self._on_the_way([scores.shape], kept)
        allowed = _best(scores, _ranks(scores, self.m), n, self.m)
        if n > self.n:
            allowed = allowed.masked_fill(self._staying(scores, n), torch.inf)
        return Mask.top(allowed, min(kept, int(torch.count_nonzero(is_alive(allowed)))))

    def _on_the_way(self, shapes: Sequence[Shape], kept: int) -> int:
        return next((n for n in range(self.n, self.m) if _capacity(shapes, n, self.m) >= kept), self.m)

    def _staying(self, scores: Tensor, n: int) -> Tensor:
        """Return where the best n - 1 of each group are, as far as they can be kept."""
        caps = _caps(scores.shape[2], n - 1, self.m, scores.device)
        return (_ranks(scores, self.m) < caps) & is_alive(scores)


def _best(scores: Tensor, ranks: Tensor, n: int, m: int) -> Tensor:
    return scores.masked_fill(ranks >= _caps(scores.shape[2], n, m, scores.device), -torch.inf)


def _ranks(scores: Tensor, m: int) -> Tensor:
    """Return the place (from 0) of each entry among its group's scores; of equal ones the first is higher."""
    inputs = scores.shape[2]
    groups = F.pad(scores, (0, -inputs % m), value=-torch.inf).unflatten(2, (-1, m))
    places = groups.movedim(3, 0).contiguous()
    ranks = torch.zeros_like(places, dtype=torch.int16)
    for i, j in itertools.combinations(range(m), 2):  # of so few, pairs are compared quicker than sorted
        is_first = places[i] >= places[j]
        ranks[j] += is_first
        ranks[i] += ~is_first
    return ranks.movedim(0, 3).flatten(2)[..., :inputs]


def _caps(inputs: int, n: int, m: int, device: torch.device) -> Tensor:
    """Return for each input how many of its group may be kept."""
    caps = torch.full((inputs,), n, device=device, dtype=torch.int16)
    if short := inputs % m:
        caps[-short:] = _share(n, short, m)
    return caps


def _share(n: int, length: int, m: int) -> int:
    return -(-n * length // m)


def _capacity(shapes: Sequence[Shape], n: int, m: int) -> int:
    return sum(
        outputs * positions * (inputs // m * n + _share(n, inputs % m, m))
        for outputs, positions, inputs in shapes
    )
