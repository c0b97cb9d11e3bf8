"""Batch norm for criteria of networks that are not trained: by the statistics of the batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from featherweight.errors import SettingError
from featherweight.sparsity.criteria._gradients import OverData


@dataclass(frozen=True)
class AtInitialisation(OverData):
    """Settings of a criterion that looks at data, for networks that are not trained yet.

    Attributes:
        batch_statistics: whether batch norm normalises by the mean and variance of each batch, as in
            training, where the papers score; running statistics stay as they are, and all else evaluates.
            None: where they are still those that a layer begins with, 0 and 1, and say nothing.

    Raises:
        SettingError: a setting is wrong.
    """

    batch_statistics: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = self.batch_statistics
        if wanted is not None and not isinstance(wanted, bool):  # pyright: ignore
            raise SettingError(f"batch_statistics is True, False or None, got {wanted!r}.")


@contextmanager
def batch_statistics(model: nn.Module, wanted: bool | None) -> Generator[None]:
    """Let batch norms of ``model`` that evaluate normalise by the batch within the block.

    Args:
        model: its running statistics and counts of batches are not changed.
        wanted: in which layers; see ``AtInitialisation``.

    Raises:
        SettingError: in the block, a batch had a single value for a channel.
    """
    # Without running statistics a layer takes those of the batch, also while it evaluates; one that trains
    # would note them, and synchronise with other processes, which may not be scoring.
    layers = [layer for layer in _noting(model) if wanted or (wanted is None and _is_new(layer))]
    noted = [(layer, layer.running_mean, layer.running_var) for layer in layers]
    try:
        for layer in layers:
            layer.running_mean = layer.running_var = None
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SettingError(
            "Batch norm takes the statistics of the batch here, and a batch has one value a channel: give "
            "batches of several examples, or batch_statistics=False to use the running statistics."
        ) from error
    finally:
        for layer, mean, variance in noted:
            layer.running_mean, layer.running_var = mean, variance


def _noting(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def _is_new(layer: _BatchNorm) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    return mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())
