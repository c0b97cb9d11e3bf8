"""The Distiller composes: what goes in, what comes out, what is refused before anything runs."""

import copy
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight import zoo
from featherweight.distillation.distiller import Distiller
from featherweight.distillation.losses import DistillationLoss
from featherweight.distillation.losses.hints import Hints
from featherweight.distillation.losses.kd import SoftTargets
from featherweight.distillation.pairing import Pair
from featherweight.distillation.ramps import Cosine
from featherweight.errors import DataError, FeatherweightError, ModelError, SettingError, TrainingError
from featherweight.training.guidance import Guidance


class Near(DistillationLoss):
    """Squared error of features after a learnt map."""

    features = "embedding"

    def __init__(self, power=2):
        super().__init__()
        self.power, self.seen = power, []

    def prepare(self, student, teacher):
        self.maps = nn.ModuleList(
            nn.Linear(a.shape[-1], b.shape[-1])
            for a, b in zip(student.features, teacher.features, strict=True)
        )

    def forward(self, student, teacher, lesson):
        self.seen.append((student, teacher, lesson))
        pairs = zip(self.maps, student.features, teacher.features, strict=True)
        return torch.stack([(m(a) - b).abs().pow(self.power).mean() for m, a, b in pairs]).mean()


class Asking(DistillationLoss):
    """Looks at everything, and is the mean of the student's logits."""

    needs_targets = True
    takes_temperature = True
    lessons: list

    def __init__(self):
        super().__init__()
        self.lessons = []

    def forward(self, student, teacher, lesson):
        self.lessons.append(lesson)
        return student.logits.mean()


class Net(nn.Module):
    def __init__(self, width=6, classes=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.body(x))


def batch(n=5, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=draw), torch.randint(3, (n,), generator=draw)


def distiller(teacher=None, student=None, example=None, **settings):
    settings = {"precision": "fp32"} | settings
    return Distiller(
        Net(8, seed=1) if teacher is None else teacher,
        Net() if student is None else student,
        batch() if example is None else example,
        **settings,
    )


def soft(student, teacher, t=4.0):
    log_p, log_q = (student / t).log_softmax(1), (teacher / t).log_softmax(1)
    return t * t * (log_q.exp() * (log_q - log_p)).sum(1).mean()


def hooks(*models):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for net in models for m in net.modules())


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


# Labels


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


def test_a_compiled_student():
    student, (x, y) = Net(), batch()
    compiled = torch.compile(student, backend="eager")
    with distiller(student=compiled, loss=Near()) as d:
        a = d((x, y))
        b = d.loss(student(x), (x, y))
        torch.testing.assert_close(a, b)
    torch.compiler.reset()


# Refusals


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 7)

    def forward(self, x):
        return self.linear(x)


class Silent(Net):
    def forward(self, x):
        return {"hidden": super().forward(x)}


class Each(DistillationLoss):
    def forward(self, student, teacher, lesson):
        return (student.logits - teacher.logits).abs().mean(1)


OUT_OF_RANGE = batch()[0], torch.tensor([0, 1, 2, 3, 0])

REFUSED = [
    (SettingError, "alpha is between 0 and 1", {"alpha": 1.5}),
    (SettingError, "alpha", {"alpha": (0.5, -0.1)}),
    (SettingError, "temperature is a finite number above 0", {"temperature": 0}),
    (SettingError, "none of Near takes one", {"temperature": 2.0, "loss": Near()}),
    (SettingError, "precision", {"precision": "fp16"}),
    (SettingError, "teacher_weights are 1", {"teacher_weights": [1, 2]}),
    (SettingError, "teacher_weights", {"teacher_weights": [0]}),
    (SettingError, "needs? labels|alpha=1.0", {"example": batch()[0]}),
    (SettingError, "Asking needs labels", {"example": batch()[0], "loss": Asking(), "alpha": 1.0}),
    (SettingError, "hard_loss with alpha=1", {"alpha": 1.0, "hard_loss": lambda o, t: o.sum()}),
    (SettingError, "features= would do nothing: none of kd", {"features": [("head", "head")]}),
    (SettingError, r"no module 'heat'.*head", {"features": [("heat", "head")], "loss": Near()}),
    (SettingError, "No distillation loss is called 'kt'", {"loss": "kt"}),
    (SettingError, "The teacher is a network", {"teacher": ["resnet20"]}),
    (SettingError, "an empty one", {"teacher": ()}),
    (SettingError, "a sequence of networks; got a NoneType", {"teacher": None}),
    (SettingError, "cache is a folder or a TeacherCache, got 5", {"cache": 5}),
    (TrainingError, r"loss dkd failed.*int64 \(5,\) of 0..3", {"loss": "dkd", "example": OUT_OF_RANGE}),
    (TrainingError, r"on the labels .* failed.*int64 \(5,\) of 0..3", {"example": OUT_OF_RANGE}),
    (TrainingError, r"loss Each must return a scalar tensor.*got a tensor \(5,\)", {"loss": Each()}),
    (ModelError, r"\(5, 3\) and those of the teacher \(5, 7\).* size", {"teacher": Wide()}),
    (ModelError, r"The teacher returns no logits.*'logits' of a mapping", {"teacher": Silent()}),
    (
        TrainingError,
        r"The student failed with inputs float32 \(5, 9\)",
        {"example": (torch.ones(5, 9), batch()[1])},
    ),
    (TrainingError, "A batch is", {"example": (1, 2, 3)}),
    (DataError, "no cache", {"cache": "/nowhere"}),
]


@pytest.mark.parametrize(("error", "words", "settings"), REFUSED, ids=[words for _, words, _ in REFUSED])
def test_refused(error, words, settings):
    student = Net()
    with pytest.raises(error, match=words):
        Distiller(
            settings.pop("teacher", Net(8, seed=1)), student, settings.pop("example", batch()), **settings
        )
    assert hooks(student) == 0


def test_a_teacher_that_learns_with_the_student_is_refused():
    student = Net()
    with pytest.raises(ModelError, match="is the student itself"):
        distiller(student, student)
    other = Net()
    other.head = student.head
    with pytest.raises(ModelError, match=r"shares 2 parameters.*head\.weight"):
        distiller(other, student)
    with pytest.raises(ModelError, match="Teacher 2 of 2 is the student"):
        distiller([Net(seed=1), student], student)
    norm = nn.BatchNorm1d(4, affine=False)
    with pytest.raises(ModelError, match=r"shares 1 parameters or modules with buffers.*\(0\)"):
        distiller(nn.Sequential(norm, Net(seed=1)), nn.Sequential(norm, Net()))
    teacher, constant = Net(seed=1), torch.ones(3)
    for network in (teacher, student):
        network.register_buffer("constant", constant)
    distiller(teacher, student).close()


@pytest.mark.parametrize(("value", "got"), [(torch.ones(5), r"a tensor \(5,\)"), (0.5, "a float")])
def test_a_loss_on_the_labels_that_is_no_scalar_is_refused(value, got):
    d = distiller(hard_loss=lambda outputs, targets: value)
    with pytest.raises(TrainingError, match=f"hard_loss must return a scalar tensor.*got {got}"):
        d(batch())


def test_targets_that_do_not_fit_in_a_later_batch_are_told_with_their_range():
    d = distiller(loss="dkd")
    with pytest.raises(TrainingError, match=r"The loss dkd failed.*targets int64 \(5,\) of 0..3"):
        d(OUT_OF_RANGE)


def test_batches_that_lack_what_the_example_had_are_refused():
    d = distiller()
    with pytest.raises(SettingError, match="no labels"):
        d(batch()[0])
    with pytest.raises(TrainingError, match=r"loss on the labels .*hard_loss=.* failed"):
        d((batch()[0], torch.zeros(5, 2).long()))
    assert issubclass(SettingError, FeatherweightError)


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


# Cache


def test_a_cache_takes_the_teachers_place(tmp_path):
    teachers, student, (x, y) = [Net(8, seed=1), Net(9, seed=2)], Net().eval(), batch(8)
    d = distiller(teachers, student, (x, y), loss={"kd": 1.0, Near(): 1.0}).eval()
    expected = d((x, y))
    d.fill_cache([(x[:3], y[:3]), (x[3:], y[3:])], tmp_path / "cache", dtype="fp32", progress=False)
    with torch.no_grad():
        heads = [teacher.head.weight.clone() for teacher in teachers]
        for teacher in teachers:
            teacher.head.weight.zero_()
        torch.testing.assert_close(d((x.flip(0), y.flip(0))), expected)
    with pytest.raises(DataError, match="augmented"):
        d((x + 1, y))
    with pytest.raises(DataError, match="another teacher"):
        distiller(teachers, student, loss={"kd": 1.0, Near(): 1.0}, cache=tmp_path / "cache")
    with torch.no_grad():
        for teacher, weight in zip(teachers, heads, strict=True):
            teacher.head.weight.copy_(weight)
    with pytest.raises(DataError, match="other outputs"):
        distiller(teachers, student, cache=tmp_path / "cache")
    again = distiller(teachers, student, loss={"kd": 1.0, Near(): 1.0}, cache=tmp_path / "cache").eval()
    again.load_state_dict(d.state_dict())
    torch.testing.assert_close(again((x, y)), expected)


# Networks of the zoo, every loss that is registered


@pytest.mark.parametrize("loss", ["kd + at", "hints", "crd + sp", "dkd", "rkd + cosine"])
def test_networks_of_the_zoo(loss):
    torch.manual_seed(0)
    x, y = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    teacher = zoo.build("vit_tiny") if "cosine" in loss else zoo.build("resnet20", in_channels=1)
    student = zoo.networks.small_cnn.SmallCNN(widths=(4, 8, 8, 8))
    with distiller(teacher, student, (x, y), loss=loss) as d:
        d((x, y)).backward()
    assert bool(student.convs[0].weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("loss", ["kd + minilm", "tinybert"])
def test_attention_of_transformers(loss):
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 28, 28), torch.tensor([0, 1])
    build = zoo.networks.vit.VisionTransformer
    teacher, student = build(depth=2, dim=16, heads=2), build(depth=1, dim=8, heads=2)
    with distiller(teacher, student, (x, y), loss=loss) as d:
        d((x, y)).backward()
    assert bool(student.blocks[0].attn.qkv.weight.grad.abs().sum() > 0)
    assert hooks(teacher, student) == 0


class Reader(nn.Module):
    """A classifier of padded texts, whose encoder packs them into nested tensors where it infers."""

    def __init__(self, width, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(9, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask):
        seen = self.encoder(self.words(input_ids), src_key_padding_mask=attention_mask == 0)
        return self.head((seen * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("loss", ["kd", "hints + minilm + tinybert"])
def test_encoders_of_torch_are_read_where_inference_packs_padded_texts(loss):
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    texts = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    values = []
    for is_packed in (True, False):
        teacher, student = Reader(8, seed=1), Reader(4)
        teacher.encoder.enable_nested_tensor = student.encoder.enable_nested_tensor = is_packed
        with distiller(teacher, student, texts, loss=loss, alpha=1.0) as d:
            values.append(float(d(texts).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert torch.backends.mha.get_fastpath_enabled()


def test_language_models_of_other_vocabularies_are_sent_to_decoded_texts():
    teacher, student = (nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, size)) for size in (9, 7))
    with pytest.raises(ModelError, match=r"\(2, 3, 7\).*\(2, 3, 9\).*vocabulary.*decoded texts \(sequence\)"):
        distiller(teacher, student, torch.ones(2, 3).long(), loss="token", alpha=1.0)


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


def test_teachers_have_their_layout_again_after_a_cache_was_filled(tmp_path):
    def net():
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))

    teacher, images = net(), torch.randn(4, 2, 4, 4)
    with distiller(teacher, net(), images, alpha=1.0) as d:
        assert not teacher[0].weight.is_contiguous()
        d.fill_cache([images], tmp_path / "c", progress=False)
        assert teacher[0].weight.is_contiguous()


def test_the_example_is_only_looked_at():
    """It may come again as the first batch, and a queue must not hold it before."""
    d = distiller(loss="crd")
    assert int(d.losses[0]["crd"].filled) == 0
    assert d.parts == {}
    assert d.training
    d(batch())
    assert int(d.losses[0]["crd"].filled) == 5
