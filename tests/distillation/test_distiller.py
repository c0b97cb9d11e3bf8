"""The Distiller composes: what goes in, what comes out, what is refused before anything runs."""

import copy
import gc
import weakref

import pytest
import torch
from tests.distillation.distilling import Asking, Near, Net, batch, distiller, hooks, soft
from torch import nn
from torch.nn import functional as F

from featherweight.distillation.losses.hints import Hints
from featherweight.distillation.losses.kd import SoftTargets
from featherweight.distillation.pairing import Pair
from featherweight.distillation.ramps import Cosine
from featherweight.errors import ModelError, SettingError
from featherweight.training.guidance import Guidance

# The loss


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_formula(alpha):
    teacher, student, (x, y) = Net(8, seed=1).eval(), Net(), batch()
    d = distiller(teacher, student, (x, y), alpha=alpha, temperature=2.0)
    loss = d((x, y))
    copied = copy.deepcopy(student)
    outputs = copied(x)
    expected = (1 - alpha) * F.cross_entropy(outputs, y) + alpha * soft(outputs, teacher(x).detach(), 2.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(student.head.weight.grad, copied.head.weight.grad)
    assert all(p.grad is None for p in teacher.parameters())
    assert d.parts.keys() == ({"kd"} if alpha == 1 else {"hard", "kd"})
    torch.testing.assert_close(d.parts["kd"], float(soft(outputs, teacher(x), 2.0).detach()))


def test_the_loss_after_the_caller_has_run_the_student_is_the_same():
    student, (x, y) = Net(), batch()
    d = distiller(student=student, loss={"kd": 1.0, Near(): 3.0}).eval()
    loss = d((x, y))
    assert torch.equal(loss, d.loss(student(x), (x, y)))
    assert d.parts.keys() == {"hard", "kd", "Near"}
    expected = 0.5 * d.parts["hard"] + 0.5 * (d.parts["kd"] + 3 * d.parts["Near"])
    assert float(loss.detach()) == pytest.approx(expected)


def test_a_student_that_is_the_teacher_has_no_soft_loss_and_sabotage_shows():
    teacher = Net(seed=1).eval()
    student = copy.deepcopy(teacher)
    d = distiller(teacher, student, alpha=1.0)
    assert float(d(batch()).detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        teacher.head.weight.zero_()  # a teacher that knows nothing must be noticed
    assert float(d(batch()).detach()) > 1e-3


def test_a_student_learns_what_a_teacher_does_without_labels():
    teacher, student = Net(16, seed=1).eval(), Net()
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(2))
    with distiller(teacher, student, x, alpha=1.0, loss="kd") as d:
        optimizer = torch.optim.Adam([*student.parameters(), *d.parameters()], 0.02)
        first = None
        for _ in range(100):
            optimizer.zero_grad()
            loss = d((x,))
            first = float(loss.detach()) if first is None else first
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < first / 20


def test_projectors_learn_and_are_all_that_there_is():
    teacher, student = Net(8, seed=1), Net()
    d = distiller(teacher, student, loss=Near())
    assert sum(p.numel() for p in d.parameters()) == 6 * 8 + 8
    assert [*d.state_dict()] == ["losses.0.Near.maps.0.weight", "losses.0.Near.maps.0.bias"]
    d(batch()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in d.parameters())
    own = {id(p) for p in d.parameters()}
    assert not own & {id(p) for net in (teacher, student) for p in net.parameters()}
    other = distiller(loss=Near())
    other.load_state_dict(d.state_dict())
    assert isinstance(d, Guidance)


def test_features_are_of_this_pass_in_float32_and_of_the_teacher_without_gradient():
    loss, student, (x, y) = Near(), Net(), batch()
    d = distiller(student=student, loss=loss, features=[("body.0", "body.0"), Pair("head", "head", "input")])
    with torch.autocast("cpu", torch.bfloat16):
        d.loss(student(x), (x, y))
    own, goal, _ = loss.seen[-1]
    assert [f.dtype for f in (*own.features, *goal.features, own.logits)] == [torch.float32] * 5
    assert all(f.requires_grad for f in own.features)
    assert not any(f.requires_grad for f in goal.features)
    expected = F.linear(x, student.body[0].weight, student.body[0].bias)
    torch.testing.assert_close(own.features[0], expected, atol=0.05, rtol=0.02)
    assert str(d.pairs).splitlines()[0] == "Near: teacher body.0 (5, 8) - student body.0 (5, 6)"
    assert d.pairs[1].student == "input of head"


def test_a_feature_that_is_written_over_in_place_is_seen_as_it_was():
    loss, (x, y) = Near(), batch()
    d = distiller(loss=loss, features=[("body.1", "body.1")])
    d((x, y))
    assert all(bool((view.features[0] < 0).any()) for view in loss.seen[-1][:2])


def test_a_feature_that_no_gradient_goes_through_is_told():
    student, (x, y) = Net(), batch()
    student.body.requires_grad_(False)
    d = distiller(student=student, loss=Near(), features=[("body", "body")])
    with pytest.warns(UserWarning, match="No gradient goes through body of the student"):
        d((x, y))
    with torch.no_grad():
        d((x, y))


def test_nothing_of_a_batch_is_kept_alive():
    student, (x, y) = Net(), batch()
    d = distiller(student=student, loss="kd", alpha=0.5)
    tapped = distiller(student=student, loss=Near())
    outputs = student(x)
    tapped.loss(outputs, (x, y)).backward()
    tapped.losses[0]["Near"].seen.clear()
    ref = weakref.ref(outputs)
    del outputs
    gc.collect()
    assert ref() is None
    d.close()


# Several teachers


def test_two_teachers_have_the_gradient_of_their_mean_distribution():
    teachers, student, (x, _) = [Net(8, seed=1).eval(), Net(9, seed=2).eval()], Net(), batch()
    shares = (0.25, 0.75)
    d = distiller(teachers, student, x, alpha=1.0, temperature=3.0, teacher_weights=(1, 3))
    d(x).backward()
    mean = sum(v * (t(x) / 3).softmax(1) for v, t in zip(shares, teachers, strict=True)).detach()
    copied = copy.deepcopy(student)
    copied.zero_grad()
    log_p = (copied(x) / 3).log_softmax(1)
    (9 * F.kl_div(log_p, mean, reduction="batchmean")).backward()
    torch.testing.assert_close(student.head.weight.grad, copied.head.weight.grad)
    torch.testing.assert_close(student.body[0].weight.grad, copied.body[0].weight.grad)


def test_each_teacher_has_its_own_projectors():
    teachers = [Net(8, seed=1), Net(9, seed=2)]
    d = distiller(teachers, loss={"kd": 1.0, Near(): 2.0}, alpha=1.0)
    assert [p.numel() for p in d.parameters()] == [48, 8, 54, 9]
    assert [pair.teacher_number for pair in d.pairs] == [0, 1]
    loss = d(batch())
    assert float(loss.detach()) == pytest.approx(d.parts["kd"] + 2 * d.parts["Near"])
    d.close()
    assert hooks(*teachers) == 0


# Progress


def test_alpha_and_temperature_follow_the_progress():
    student, (x, y) = Net(), batch()
    d = distiller(student=student, alpha=(1.0, 0.0), temperature=Cosine(4.0, 2.0)).eval()
    for progress, alpha, t in ((0.0, 1.0, 4.0), (0.5, 0.5, 3.0), (1.0, 0.0, 2.0)):
        d.set_progress(progress)
        outputs = student(x)
        loss = d.loss(outputs, (x, y))
        with torch.no_grad():
            kd = soft(outputs, Net(8, seed=1).eval()(x), t)
            hard = F.cross_entropy(outputs, y)
        torch.testing.assert_close(loss.detach(), (1 - alpha) * hard + alpha * kd)
    with pytest.raises(SettingError, match="progress"):
        d.set_progress(1.5)


def test_losses_are_told_targets_mask_and_temperature():
    loss = Asking()

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x, attention_mask=None, labels=None):
            return {"logits": self.linear(x)}

    given = {
        "x": torch.randn(2, 5, 4),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "labels": torch.tensor([[0, 1, -100, -100, -100], [-100, 2, 2, 1, 0]]),
    }
    d = distiller(Tokens(), Tokens(), given, loss=loss, temperature=1.5)
    d(given)
    lesson = loss.lessons[-1]
    assert torch.equal(lesson.targets, given["labels"])
    assert torch.equal(lesson.mask, given["attention_mask"].bool())
    assert lesson.temperature == 1.5


# Nothing is changed


def test_networks_are_as_they_were():
    teacher, student = Net(8, seed=1).train(), Net().train()
    before = [copy.deepcopy(net.state_dict()) for net in (teacher, student)]
    d = distiller(teacher, student, loss={"kd": 1.0, Near(): 1.0})
    assert teacher.training
    assert student.training
    for net, state in zip((teacher, student), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    d(batch())
    assert all(torch.equal(value, before[0][name]) for name, value in teacher.state_dict().items())
    assert hooks(teacher, student) > 0
    d.close()
    d.close()
    assert hooks(teacher, student) == 0


def test_a_failed_construction_leaves_nothing_behind():
    class Refusing(Near):
        def prepare(self, student, teacher):
            raise ModelError("no")

    teacher, student = Net(8, seed=1), Net()
    with pytest.raises(ModelError, match="no"):
        distiller(teacher, student, loss=Refusing())
    assert hooks(teacher, student) == 0


def test_the_fingerprint_tells_settings_and_teachers_apart():
    settings = [
        {}, {"alpha": 0.4}, {"temperature": 2.0}, {"loss": "2*kd"}, {"loss": SoftTargets(3.0)},
        {"loss": Near()}, {"loss": Near(), "features": [("head", "head")]}, {"teacher": Net(8, seed=2)},
        {"precision": "bf16"},
        {"hard_loss": F.cross_entropy}, {"loss": Near(power=1)},
    ]  # fmt: skip
    same = [("body.0", "body.0"), ("head", "head")]
    settings += [{"loss": Hints([number]), "features": same} for number in range(2)]
    words = [distiller(**each).fingerprint() for each in settings]
    assert len(set(words)) == len(words)
    assert distiller().fingerprint() == words[0]
    assert not any(" at 0x" in each for each in words)


def test_the_fingerprint_is_that_of_any_batch():
    """The first batch of texts has another length where its order is drawn anew, and the run is the same."""
    settings = {"loss": "kd + hints", "features": [("head", "head")]}
    assert (
        distiller(example=batch(5), **settings).fingerprint()
        == distiller(example=batch(3), **settings).fingerprint()
    )


def test_a_distiller_that_is_dropped_leaves_no_hooks():
    teacher, student = Net(8, seed=1), Net()
    d = distiller(teacher, student, loss=Near())
    d(batch())
    assert hooks(teacher, student) == 2
    del d
    assert hooks(teacher, student) == 0


def test_features_are_not_read_after_the_end():
    d = distiller(loss=Near())
    d.close()
    with pytest.raises(ModelError, match=r"'head' is watched no more: .* is closed"):
        d(batch())


def test_losses_are_computed_in_float32_where_the_caller_has_autocast_on():
    student, given = Net().eval(), batch()
    d = distiller(student=student, loss=Near())
    expected = d.loss(student(given[0]), given)
    outputs = student(given[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(d.loss(outputs, given), expected)


def test_the_example_is_only_looked_at():
    """It may come again as the first batch, and a queue must not hold it before."""
    d = distiller(loss="crd")
    assert int(d.losses[0]["crd"].filled) == 0
    assert d.parts == {}
    assert d.training
    d(batch())
    assert int(d.losses[0]["crd"].filled) == 5
