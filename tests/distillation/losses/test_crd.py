"""Contrastive distillation against loops over the formula; its gradient, queue, and what would go unseen."""

import copy
import math

import pytest
import torch
from torch import nn

from featherweight.distillation.losses import UNLABELLED, Lesson, View, losses
from featherweight.errors import ModelError, SettingError

TAU = 0.5


def rows(n=4, width=3, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=draw, dtype=dtype)


def views(own, goal):
    return View(features=(own,)), View(features=(goal,))


def prepared(own_width=3, goal_width=6, dtype=torch.float32, **settings):
    loss = losses["crd"](**({"width": 4, "temperature": TAU, "queue": 6} | settings))
    loss.prepare(*views(rows(2, own_width, dtype=dtype), rows(2, goal_width, dtype=dtype)))
    return loss


def crd(loss, own, goal, targets=None, mask=None):
    return loss(*views(own, goal), Lesson(targets, mask))


class Naive:
    """The formula with lists: no matrices, no masks."""

    def __init__(self, loss):
        self.heads = [
            (head.weight.tolist(), head.bias.tolist()) for head in (loss.student_head, loss.teacher_head)
        ]
        self.size = loss.student_queue.shape[0]
        self.queue = []  # (student's embedding, teacher's, label), the latest first
        self.scales = [None, None]

    def __call__(self, own, goal, labels):
        own = [self.embedded(0, row) for row in own.tolist()]
        goal = [self.embedded(1, row) for row in goal.tolist()]
        batch = list(zip(own, goal, labels, strict=True))
        total = self.half(0, batch, 0, 1) + self.half(1, batch, 1, 0)
        self.queue = (batch + self.queue)[: self.size]
        return total

    def embedded(self, which, row):
        weight, bias = self.heads[which]
        made = [
            sum(a * b for a, b in zip(line, row, strict=True)) + c
            for line, c in zip(weight, bias, strict=True)
        ]
        return [value / math.hypot(*made) for value in made]

    def half(self, half, batch, anchor, other):
        def power(a, b):
            return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / TAU)

        apart = []
        for i, one in enumerate(batch):
            rest = batch[:i] + batch[i + 1 :] + self.queue
            apart.append([that[other] for that in rest if one[2] == UNLABELLED or that[2] != one[2]])
        if self.scales[half] is None:
            powers = [
                power(one[anchor], that) for one, those in zip(batch, apart, strict=True) for that in those
            ]
            if powers:
                self.scales[half] = sum(powers) / len(powers)
        total = 0.0
        for one, those in zip(batch, apart, strict=True):
            noise = len(those) * (self.scales[half] or 0)
            h = [
                power(one[anchor], that) / (power(one[anchor], that) + noise) for that in [one[other], *those]
            ]
            total -= math.log(h[0]) + sum(math.log(1 - x) for x in h[1:])
        return total / len(batch)


@pytest.mark.parametrize("labels", [[UNLABELLED] * 4, [0, 1, 2, 0], [1, UNLABELLED, 1, UNLABELLED]])
def test_equals_the_formula_over_four_batches_with_a_queue_that_fills_and_overflows(labels):
    loss = prepared()
    naive = Naive(loss)
    for step in range(4):
        own, goal = rows(seed=step), rows(width=6, seed=10 + step)
        turned = labels[step:] + labels[:step]
        found = crd(loss, own, goal, torch.tensor(turned))
        assert found.item() == pytest.approx(naive(own, goal, turned), rel=1e-5)
    assert int(loss.filled) == 6
    torch.testing.assert_close(loss.student_queue, torch.tensor([one[0] for one in naive.queue]))
    torch.testing.assert_close(loss.teacher_queue, torch.tensor([one[1] for one in naive.queue]))
    assert loss.labels.tolist() == [one[2] for one in naive.queue]
    torch.testing.assert_close(loss.log_scale, torch.tensor(naive.scales).log())


@pytest.mark.parametrize("targets", [None, torch.tensor([0, 1, 2, 0])])
def test_gradient_is_that_of_the_value_to_features_and_heads(targets):
    loss = prepared(dtype=torch.float64)
    crd(loss, rows(dtype=torch.float64, seed=5), rows(width=6, dtype=torch.float64, seed=6), targets)
    loss.eval()
    own, goal = rows(dtype=torch.float64).requires_grad_(), rows(width=6, seed=1, dtype=torch.float64)
    heads = list(loss.parameters())
    assert len(heads) == 4
    assert torch.autograd.gradcheck(lambda x, *_: crd(loss, x, goal, targets), (own, *heads))


def test_the_queue_is_not_touched_in_eval_mode_nor_by_the_backward_pass():
    loss = prepared()
    crd(loss, rows(), rows(width=6, seed=1))
    before = copy.deepcopy(loss.state_dict())
    loss.eval()
    crd(loss, rows(seed=2), rows(width=6, seed=3)).backward()
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_two_losses_may_wait_for_one_backward_pass():
    loss = prepared()
    own = rows().requires_grad_()
    total = crd(loss, own, rows(width=6, seed=1)) + crd(loss, own, rows(width=6, seed=2))
    total.backward()  # a queue changed in place would be an error here
    assert own.grad.abs().sum() > 0
    assert not loss.student_queue.requires_grad


def test_a_batch_is_not_its_own_negative_and_larger_than_the_queue_is_fine():
    loss = prepared(queue=3)
    naive = Naive(loss)
    for step in range(2):
        own, goal = rows(5, seed=step), rows(5, 6, seed=10 + step)
        found = crd(loss, own, goal)
        assert found.item() == pytest.approx(naive(own, goal, [UNLABELLED] * 5), rel=1e-5)
    assert loss.student_queue.shape == (3, 4)


def test_with_labels_the_example_itself_in_the_queue_is_no_negative():
    loss = prepared()
    own, goal, targets = rows(2), rows(2, 6, seed=1), torch.tensor([0, 1])
    crd(loss, own, goal, targets)
    found = loss._negatives(targets)
    assert found.tolist() == [
        [False, True, False, True] + 4 * [False],
        [True, False, True, False] + 4 * [False],
    ]


def test_without_a_negative_there_is_nothing_to_tell():
    for targets, n in ((None, 1), (torch.tensor([2, 2, 2]), 3)):
        loss = prepared()
        own = rows(n).requires_grad_()
        value = crd(loss, own, rows(n, 6, seed=1), targets)
        value.backward()
        assert value.item() == 0
        assert own.grad.abs().sum() == 0
        assert bool(loss.log_scale.isinf().all()), "the scale is of the first batch that has negatives"


def test_a_run_that_is_resumed_goes_on_as_it_was():
    loss = prepared()
    for step in range(2):
        crd(loss, rows(seed=step), rows(width=6, seed=10 + step), torch.tensor([0, 1, 2, 3]))
    other = prepared()
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    for step in range(2, 4):
        batch = rows(seed=step), rows(width=6, seed=10 + step), torch.tensor([3, 1, 0, 2])
        assert torch.equal(crd(loss, *batch), crd(other, *batch))


def test_networks_that_agree_cost_less_than_others():
    loss = prepared(goal_width=3, width=16).eval()
    same = rows(16)
    assert crd(loss, same, same).item() < 0.8 * crd(loss, same.roll(1, 0), same).item()
    assert crd(loss, same, same).item() < 0.8 * crd(loss, rows(16, seed=1), same).item()


def test_steps_bring_the_embeddings_of_one_example_nearer_than_those_of_two():
    loss = prepared(width=8, queue=32)
    student = nn.Linear(6, 3)
    optimizer = torch.optim.SGD([*student.parameters(), *loss.parameters()], lr=0.1)
    inputs = rows(16, 6, seed=1)

    def lead():
        with torch.no_grad():
            own = nn.functional.normalize(loss.student_head(student(inputs)))
            alike = own @ nn.functional.normalize(loss.teacher_head(inputs)).T
        return (alike.diagonal().mean() - alike.mean()).item()

    before = lead()
    for _ in range(30):
        optimizer.zero_grad()
        crd(loss, student(inputs), inputs, torch.arange(16)).backward()
        optimizer.step()
    assert lead() > before + 0.2


def test_the_teacher_matters():
    own = rows().requires_grad_()
    slopes = []
    for goal in (rows(width=6, seed=1), rows(width=6, seed=2), torch.zeros(4, 6)):
        slopes.append(torch.autograd.grad(crd(prepared(), own, goal), own)[0])
    assert (slopes[0] - slopes[1]).norm() > 0.1 * slopes[0].norm()
    assert (slopes[0] - slopes[2]).norm() > 0.1 * slopes[0].norm()


def test_heads_are_the_same_in_every_process_and_take_no_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = prepared()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    with torch.inference_mode():
        second = prepared()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not b.is_inference()


def test_products_are_not_rounded_to_16_bits():
    batch = rows(), rows(width=6, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = crd(prepared(), *batch)
    assert torch.equal(found, crd(prepared(), *batch))


def test_padding_does_not_count():
    tokens, goal = rows(width=5 * 3).view(4, 5, 3), rows(width=6, seed=1)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [4]])
    noisy = tokens + 100 * ~mask.unsqueeze(2)
    torch.testing.assert_close(
        crd(prepared(), noisy, goal, None, mask), crd(prepared(), tokens, goal, None, mask)
    )


def test_what_does_not_fit_is_refused_before_anything_changes():
    loss = losses["crd"]()
    with pytest.raises(ModelError, match="prepare"):
        crd(loss, rows(), rows())
    loss = prepared()
    with pytest.raises(ModelError, match="teacher of width 6, got 5"):
        crd(loss, rows(), rows(width=5))
    with pytest.raises(ModelError, match="width 3, got 2"):
        loss.prepare(*views(rows(width=2), rows(width=6)))
    with pytest.raises(ModelError, match="one pair"):
        loss(View(features=(rows(), rows())), View(features=(rows(), rows())), Lesson())
    assert int(loss.filled) == 0


@pytest.mark.parametrize("settings", [{"width": 0}, {"queue": -1}, {"queue": 2.0}, {"temperature": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(SettingError):
        losses["crd"](**settings)
