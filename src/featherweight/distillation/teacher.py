"""A teacher: a network that is run and not changed, and is given back as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn

from featherweight.core.fingerprint import fingerprint
from featherweight.core.prunable import unwrap
from featherweight.core.trace import evaluated
from featherweight.distillation.attention_taps import Attention
from featherweight.distillation.outputs import first_tensor, moved
from featherweight.distillation.taps import Tap
from featherweight.distillation.watch import Reading, Watch
from featherweight.errors import ModelError
from featherweight.training.objective import call, explained, laid_out, without_labels
from featherweight.training.placement import Form, to_channels_last, uses_channels_last
from featherweight.training.precision import autocast, choose_precision


class Teacher:
    """Runs a network in eval mode without gradients, on its own device and in its own precision.

    Attributes:
        plain: the network without wrappers, on which the hooks sit.
        precision: "fp32" or "bf16".
        name: for errors.
        watched: its hooks.
    """

    def __init__(
        self, network: nn.Module, *, name: str, precision: str, device: torch.device | str | None
    ) -> None:
        """Take the network; it moves when it first runs.

        Args:
            network: wrapped (DDP, torch.compile) or not.
            name: for errors, "The teacher".
            precision: "auto", "fp32" or "bf16".
            device: where it runs; None: where the batch is.
        """
        self.name, self.plain = name, unwrap(network)
        parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
        self._network: nn.Module = network.module if isinstance(network, parallel) else network
        self._asked, self._device = precision, None if device is None else torch.device(device)
        self._form = Form.of(self.plain) if next(self.plain.parameters(), None) is not None else None
        self.watched = Watch(self.plain, ())
        self._fingerprint: str | None = None
        self._is_changed = False
        where = self._device or (self._form.device if self._form else torch.device("cpu"))
        self.precision = choose_precision(precision, "no", where)

    def watch(self, features: Iterable[Tap], attention: Iterable[Attention]) -> None:
        """Set hooks, in the place of those that there were."""
        self.watched.close()
        self.watched = Watch(self.plain, features, attention)

    def inputs_of(self, inputs: Any) -> Any:
        """Return what the network is given: all but "labels".

        An encoder-decoder without "decoder_input_ids" makes these of the labels, and keeps them.
        """
        config = getattr(self.plain, "config", None)
        shifts = getattr(config, "is_encoder_decoder", False) is True
        if shifts and isinstance(inputs, Mapping) and "decoder_input_ids" not in inputs:
            return cast("Any", inputs)
        return without_labels(inputs)

    def run(self, inputs: Any, *, plain: bool = False) -> Reading:
        """Return what the network makes of ``inputs``, detached, on their device.

        Args:
            inputs: of a batch; see ``inputs_of``.
            plain: run the network without its wrappers.

        Raises:
            TrainingError: the forward pass failed; says on what.
        """
        home = device_of(inputs)
        where = self._settle(home)
        inputs = moved(self.inputs_of(inputs), where)
        network = self.plain if plain else self._network
        with torch.no_grad(), evaluated(self.plain), autocast(self.precision, where):
            with self.watched.readable(), explained(self.name, inputs=inputs):
                outputs = call(network, laid_out(inputs) if self._is_laid_out else inputs)
            reading = self.watched.read(outputs)
        return reading if where == home else reading.to(home)

    def close(self) -> None:
        """Take the hooks off, and bring the network back to its device and memory layout."""
        self.watched.close()
        self.rest()

    def rest(self) -> None:
        """Bring the network back to its device and memory layout, until it runs again."""
        if self._form is not None and self._is_changed:
            self._form.give_back()
            self._is_changed = False

    @property
    def fingerprint(self) -> str:
        """A digest of class and weights, computed once."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.plain)
        return self._fingerprint

    @property
    def _is_laid_out(self) -> bool:
        return self._form is not None and uses_channels_last(self.plain)

    def _settle(self, home: torch.device) -> torch.device:
        """Bring the network to where it runs; one that is spread over devices stays where it is."""
        if self._form is None:
            return self._device or home
        devices = {p.device for p in self.plain.parameters()}
        where = self._device or home
        moves = len(devices) == 1 and devices != {where}
        if moves:
            self.plain.to(where)
        if self._is_laid_out and (moves or not self._is_changed):
            to_channels_last(self.plain)
            moves = True
        self._is_changed |= moves
        return where


def device_of(inputs: Any) -> torch.device:
    """Return the device of the first tensor; raises ModelError where there is none."""
    first = first_tensor(inputs)
    if first is None:
        raise ModelError("The inputs of a batch hold no tensor.")
    return first.device
