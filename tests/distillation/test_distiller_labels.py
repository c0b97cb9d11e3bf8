"""What a Distiller takes as labels, and where it finds logits."""

import copy
from types import SimpleNamespace

import pytest
import torch
from tests.distillation.distilling import Net, batch, distiller
from torch import nn
from torch.nn import functional as F


def test_unlabelled_examples_count_only_for_the_teacher():
    student, (x, y) = Net(), batch()
    d = distiller(student=student)
    some = torch.where(torch.arange(5) < 2, y, -100)
    outputs = student(x)
    d.loss(outputs, (x, some))
    assert d.parts["hard"] == pytest.approx(F.cross_entropy(outputs[:2], y[:2]).item())
    loss = d.loss(outputs, (x, torch.full((5,), -100)))
    assert d.parts["hard"] == 0
    loss.backward()
    assert bool(student.head.weight.grad.isfinite().all())


def test_probabilities_are_targets_too():
    x, y = batch()
    wanted = F.one_hot(y, 3) * 0.9 + 0.1 / 3
    student = Net()
    d = distiller(student=student, example=(x, wanted))
    outputs = student(x)
    d.loss(outputs, (x, wanted))
    assert d.parts["hard"] == pytest.approx(F.cross_entropy(outputs, wanted).item())


class Own(nn.Module):
    """Computes its own loss where it is given labels, as networks of Hugging Face do."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = Net(seed=seed)

    def forward(self, x, labels=None):
        assert labels is None or self.training or not torch.is_grad_enabled()
        logits = self.net(x)
        loss = None if labels is None else 7 * F.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits, labelled=labels is not None)


def test_mappings_have_the_students_own_loss_and_the_teacher_gets_no_labels():
    x, y = batch()
    teacher, seen = Own(1), []
    teacher.register_forward_hook(lambda m, i, o: seen.append(o.labelled))
    given = {"x": x, "labels": y}
    student = Own()
    d = distiller(teacher, student, given)
    loss = d(given)
    assert not any(seen)
    with torch.no_grad():
        logits = copy.deepcopy(student)(x).logits
    assert d.parts["hard"] == pytest.approx(7 * float(F.cross_entropy(logits, y)), rel=1e-5)
    loss.backward()
    d({"x": x, "labels": torch.full((5,), -100)})
    assert d.parts["hard"] == 0  # the network's own would be NaN
    apart = distiller(
        teacher, student, given, hard_loss=lambda outputs, targets: outputs.logits.sum() * 0 + 3
    )
    apart(given)
    assert apart.parts["hard"] == 3
    no_labels = distiller(teacher, student, {"x": x}, alpha=1.0)
    assert no_labels({"x": x}).requires_grad


@pytest.mark.parametrize("wrap", [lambda y: (y.sum(), y), lambda y: [y], lambda y: {"logits": y}])
def test_logits_are_found(wrap):
    class Wrapped(Net):
        def forward(self, x):
            return wrap(super().forward(x))

    x, y = batch()
    student = Net()
    a = distiller(student=student).eval()
    b = distiller(Wrapped(8, seed=1), student).eval()
    student.eval()
    assert torch.equal(a((x, y)), b((x, y)))
