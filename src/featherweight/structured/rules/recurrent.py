"""LSTM and GRU, whole layers and single steps: the hidden size is that of each gate.

Gates x hidden is the first dimension of the weights.
"""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.rules.joins import end_to_end
from featherweight.structured.units import Axis


@rule("lstm.input")
def lstm(flow: Flow) -> list[Axes]:
    """Four gates; output, hidden state and cell."""
    return _recurrent(flow, gates=4)


@rule("gru.input")
def gru(flow: Flow) -> list[Axes]:
    """Three gates; output and hidden state."""
    return _recurrent(flow, gates=3)


@rule("rnn_tanh.input", "rnn_relu.input")
def rnn(flow: Flow) -> list[Axes]:
    """No gates; output and hidden state."""
    return _recurrent(flow, gates=1)


@rule("lstm_cell.default")
def lstm_cell(flow: Flow) -> list[Axes]:
    """One step; hidden state and cell."""
    return _step(flow, gates=4)


@rule("gru_cell.default")
def gru_cell(flow: Flow) -> list[Axes]:
    """One step; the hidden state."""
    return _step(flow, gates=3)


@rule("rnn_tanh_cell.default", "rnn_relu_cell.default")
def rnn_cell(flow: Flow) -> list[Axes]:
    """One step without gates; the hidden state."""
    return _step(flow, gates=1)


def _step(flow: Flow, gates: int) -> list[Axes]:
    given = [flow.axes(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh") if flow.has(name)]
    batch, features = flow.axes("input")[:-1], flow.axes("input")[-1]
    states = flow.all_axes("hx")
    for state in states:
        for mine, theirs in zip(batch, state[:-1], strict=True):
            flow.unite(mine, theirs)
    hidden = _cell(flow, given, features, states, gates)
    return [[*batch, hidden] for _ in flow.call.outputs]


def _recurrent(flow: Flow, gates: int) -> list[Axes]:
    features = flow.axes("input")[-1]
    directions = 2 if flow["bidirectional"] else 1
    tensors = flow.all_axes("params")
    per_direction = len(tensors) // (flow["num_layers"] * directions)
    states = flow.all_axes("hx")
    for layer in range(flow["num_layers"]):
        outputs: list[Axis] = []
        for direction in range(directions):
            start = (layer * directions + direction) * per_direction
            outputs.append(_cell(flow, tensors[start : start + per_direction], features, states, gates))
        features = end_to_end(outputs)
    sequence = [*flow.axes("input")[:-1], features]
    return [sequence, *(list(state) for state in states)]


def _cell(flow: Flow, tensors: list[Axes], features: Axis, states: list[Axes], gates: int) -> Axis:
    """Join the tensors of one cell; return the axis of its output. With a projection nothing is cut."""
    weight_ih, weight_hh, *others = tensors
    flow.unite(features, weight_ih[1])
    hidden = weight_hh[1]
    for axis in (weight_ih[0], weight_hh[0], *(axes[0] for axes in others if len(axes) == 1)):
        gate, inside = flow.units.split(axis, [gates, len(axis) // gates])
        flow.freeze([gate], "gates of a recurrent cell")
        if len(inside) == len(hidden):
            flow.unite(inside, hidden)
        else:
            flow.freeze([inside, hidden], "a projected recurrent cell")
    projections = [axes[0] for axes in others if len(axes) == 2]
    for axis in projections:
        flow.freeze([axis], "a projected recurrent cell")
    for number, state in enumerate(states):
        target = projections[0] if projections and number == 0 else hidden
        if len(state[-1]) == len(target):
            flow.unite(state[-1], target)
    return projections[0] if projections else hidden
