"""What tracing says about a network that cannot be traced, and that torch says nothing beside it."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.errors import TraceError


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_inputs_that_do_not_fit_are_named_and_torch_is_quiet(capfd):
    loggers = [
        logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch")
    ]
    before = [list(logger.filters) for logger in loggers]
    with pytest.raises(
        TraceError, match=r"Linear fails on .*float32 of shape \(1, 9\): RuntimeError: "
    ) as failed:
        trace(nn.Linear(8, 3), torch.zeros(1, 9))
    assert ".." not in str(failed.value)
    assert capfd.readouterr() == ("", "")
    assert [list(logger.filters) for logger in loggers] == before


def test_a_network_that_runs_but_cannot_be_traced():
    with pytest.raises(TraceError, match=r"torch\.export cannot trace Branching: ") as failed:
        trace(Branching(), torch.ones(1, 9))
    assert ".." not in str(failed.value)
