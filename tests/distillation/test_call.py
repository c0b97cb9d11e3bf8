"""The whole call: a trained copy of the student, with its zeros and its surgery."""

import copy
import dataclasses
import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.core.holding import Holding
from featherweight.core.masks import Masks
from featherweight.distillation.zeros import zeros_of
from featherweight.errors import ModelError, ResumeError, SettingError, TrainingError
from featherweight.training import Attachment, TrainingSettings

FAST = TrainingSettings(epochs=2, learning_rate=0.2, precision="fp32")


def net(width=8, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def loader(count=48, labels=True, shuffle=True):
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    tensors = (inputs, inputs[:, :3].argmax(1)) if labels else (inputs,)
    return DataLoader(TensorDataset(*tensors), 8, shuffle=shuffle)


@pytest.fixture(scope="module")
def teacher():
    network = net(32, seed=3)
    fw.fit(network, loader(), None, TrainingSettings(epochs=20, learning_rate=0.2), progress=False)
    return network


def distance(network, teacher):
    """Mean KL of the teacher's classes from the network's."""
    with torch.no_grad():
        inputs = loader().dataset.tensors[0]
        own, goal = network(inputs).log_softmax(1), teacher(inputs).log_softmax(1)
        return nn.functional.kl_div(own, goal, log_target=True, reduction="batchmean").item()


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_course(teacher):
    """The positional form, with everything else left as it is but the epochs."""
    data_loader, student = loader(), net()
    before = state(student), state(teacher)
    distilled = fw.distill(teacher, student, data_loader, settings=FAST, progress=False)
    assert distilled is not student
    assert type(distilled) is type(student)
    assert same(before[0], state(student))
    assert same(before[1], state(teacher))
    assert distance(distilled, teacher) < distance(student, teacher) / 1.5
    assert not [hook for m in [*distilled.modules(), *teacher.modules()] for hook in m._forward_hooks]


def test_without_labels_the_teacher_is_learnt_from_alone(teacher):
    student = net()
    unlabelled, labelled = (
        fw.distill(teacher, student, loader(labels=labels), alpha=1.0, settings=FAST, progress=False)
        for labels in (False, True)
    )
    assert same(state(unlabelled), state(labelled))
    assert distance(unlabelled, teacher) < distance(student, teacher) / 1.5


def test_sabotage_what_the_teacher_says_matters(teacher):
    contrary = copy.deepcopy(teacher)
    with torch.no_grad():
        contrary[2].weight.neg_()
        contrary[2].bias.neg_()
    learnt, misled = (
        fw.distill(t, net(), loader(), alpha=1.0, settings=FAST, progress=False) for t in (teacher, contrary)
    )
    assert distance(learnt, teacher) < distance(net(), teacher) < distance(misled, teacher)


def test_alpha_0_is_training_without_a_teacher(teacher):
    batches = list(loader(shuffle=False))
    learnt = fw.distill(teacher, net(), batches, alpha=0.0, settings=FAST, progress=False)
    alone = net()
    fw.fit(alone, batches, None, FAST, progress=False)
    for name, value in state(alone).items():
        torch.testing.assert_close(learnt.state_dict()[name], value)


def test_the_validation_split_chooses(teacher):
    scores, seen = iter([0.9, 0.1]), []
    student = net()

    def metric(outputs, targets):
        seen.append(outputs)
        return (next(scores), 1) if len(seen) % 2 else (0, 0)

    validate = loader(16, shuffle=False)
    learnt = fw.distill(teacher, student, loader(), validate, metric=metric, settings=FAST, progress=False)
    with torch.no_grad():
        assert torch.equal(learnt(validate.dataset.tensors[0][:8]), seen[0])


def test_the_same_call_gives_the_same_weights_also_resumed(teacher, tmp_path):
    crashing, calls = loader(), []

    def hard_loss(outputs, targets):
        calls.append(1)
        if len(calls) == 9:
            raise OSError("the machine went away")
        return nn.functional.cross_entropy(outputs, targets)

    def run(seed, **more):
        torch.manual_seed(seed)
        return fw.distill(
            teacher, net(), crashing, loss="kd", hard_loss=hard_loss, settings=FAST, progress=False, **more
        )

    with pytest.raises(OSError, match="machine"):
        run(0, run_dir=tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()
    resumed, whole = run(1, run_dir=tmp_path), run(2)
    assert same(state(resumed), state(whole))
    with pytest.raises(ResumeError, match="guidance was"):
        fw.distill(teacher, net(), crashing, settings=FAST, run_dir=tmp_path, alpha=0.3, progress=False)


def test_the_generators_of_the_caller_go_on(teacher):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fw.distill(teacher, net_of(0), loader(), settings=FAST, progress=False)
    assert torch.equal(torch.rand(3), expected)


def net_of(seed):
    """``net``, with the caller's generator left alone."""
    with torch.random.fork_rng():
        return net(seed=seed)


def test_a_network_may_learn_from_itself(teacher):
    """Born-again networks: the student is a copy, and so the teacher does not learn with it."""
    before = state(teacher)
    learnt = fw.distill(teacher, teacher, loader(), settings=FAST, progress=False)
    assert same(state(teacher), before)
    assert not same(state(learnt), before)


# Zeros


def pruned_net():
    student = net()
    fw.prune(student, 0.5)
    return student


@pytest.mark.parametrize("decay", [None, 0.5])
def test_zeros_of_a_pruned_student_stay(teacher, decay):
    student = pruned_net()
    settings = TrainingSettings(epochs=2, learning_rate=0.1, precision="fp32", ema_decay=decay)
    learnt = fw.distill(teacher, student, loader(), settings=settings, progress=False)
    masks = Masks.from_zeros(student)
    masks.check(learnt)
    assert Masks.from_zeros(learnt).sparsity == masks.sparsity == 0.5
    assert distance(learnt, teacher) < distance(student, teacher)


def test_sabotage_zeros_that_are_not_kept_go(teacher):
    student = pruned_net()
    learnt = fw.distill(teacher, student, loader(), keep_zeros=False, settings=FAST, progress=False)
    assert Masks.from_zeros(learnt).sparsity < 0.1
    with pytest.raises(ModelError):
        Masks.from_zeros(student).check(learnt)


def test_a_layer_that_is_zero_throughout_is_trained(teacher):
    student = pruned_net()
    nn.init.zeros_(student[2].weight)
    learnt = fw.distill(teacher, student, loader(), settings=FAST, progress=False)
    assert bool((learnt[2].weight != 0).all())
    assert torch.equal(learnt[0].weight == 0, student[0].weight == 0)


def test_no_zeros_no_masks():
    assert zeros_of(net()) is None
    assert zeros_of(nn.Sequential(nn.Embedding(3, 2))) is None


def test_held_zeros_are_an_attachment_that_says_which():
    student = pruned_net()
    held = Holding(student, zeros_of(student))
    assert isinstance(held, Attachment)
    assert held.fingerprint() == Holding(student, zeros_of(student)).fingerprint()
    other = net(seed=1)
    fw.prune(other, 0.5)
    assert held.fingerprint() != Holding(other, zeros_of(other)).fingerprint()
    assert held.sparsity == 0.5
    with torch.no_grad():
        student[0].weight.fill_(1)
    held.load_state_dict(held.state_dict())
    assert float((student[0].weight == 0).float().mean()) > 0.3


# Surgery


def test_a_cut_student_keeps_its_record(teacher, tmp_path):
    original = net(16)
    student, _ = fw.prune_structured(original, torch.ones(2, 6), keep=0.5)
    learnt = fw.distill(teacher, student, loader(), settings=FAST, progress=False)
    assert learnt[0].out_features == student[0].out_features < 16
    fw.save(learnt, tmp_path / "small.safetensors")
    loaded = fw.load(tmp_path / "small.safetensors", into=net(16))
    inputs = torch.randn(4, 6)
    with torch.no_grad():
        torch.testing.assert_close(loaded(inputs), learnt(inputs))


# The call itself


def test_it_is_callable_and_carries_the_pieces():
    assert callable(fw.distill)
    assert "Train a copy of a student" in inspect.getdoc(fw.distill)
    parameters = list(inspect.signature(fw.distill).parameters)
    assert parameters[:4] == ["teacher", "student", "train", "validate"]
    assert "kd" in fw.distill.losses
    assert fw.distill.losses["kd"](temperature=2.0).temperature == 2.0
    assert issubclass(fw.distill.Distiller, nn.Module)
    documented = inspect.getdoc(fw.distill)
    public = [name for name in vars(type(fw.distill)) if not name.startswith("_")]
    assert all(f"    {name}: " in documented or f"``{name}``" in documented for name in public)


def test_networks_of_the_zoo_know_their_data(monkeypatch, teacher):
    batches = loader()
    asked = []

    def default_loaders(model):
        asked.append(model)
        return type("Loaders", (), {"train": batches, "validate": batches})

    monkeypatch.setattr("featherweight.distillation.call.default_loaders", default_loaders)
    monkeypatch.setattr("featherweight.distillation.call.card_of", lambda model: getattr(model, "card", None))
    student = net()
    fw.distill(teacher, student, settings=FAST, progress=False)
    student.card = "its data"
    fw.distill(teacher, student, settings=FAST, progress=False)
    assert asked == [teacher, student]


def test_what_is_refused(teacher):
    student = net()
    for call, error, words in [
        (lambda: fw.distill(teacher, student), SettingError, "no data of its own"),
        (lambda: fw.distill(teacher, student, None, loader()), SettingError, "validate= without train="),
        (lambda: fw.distill(teacher, student, []), TrainingError, "train has no batch"),
        (lambda: fw.distill(teacher, student, loader(), loss="kdd"), SettingError, "kdd"),
        (
            lambda: fw.distill(
                teacher, student, loader(), settings=TrainingSettings(label_smoothing=0.1), progress=False
            ),
            SettingError,
            "label_smoothing",
        ),
    ]:
        with pytest.raises(error, match=words):
            call()
    assert not [hook for module in teacher.modules() for hook in module._forward_hooks]


def test_a_cache_or_a_teacher_of_another_type_is_refused():
    with pytest.raises(SettingError, match="cache is a folder or a TeacherCache, got True"):
        fw.distill(net(), net(), loader(), cache=True)
    with pytest.raises(SettingError, match="teacher is a network, or a sequence"):
        fw.distill(nn.Linear, net(), loader())


@pytest.mark.parametrize("loss", ["hints", "crd"])
def test_a_loss_that_is_given_begins_each_run_anew(teacher, loss):
    given, features = fw.distill.losses[loss](), [("0", "0")]
    settings = {"loss": given, "features": features, "settings": FAST, "progress": False}
    first, second = (fw.distill(teacher, net(), loader(), **settings) for _ in range(2))
    assert same(state(first), state(second))
    assert not list(given.parameters())


def test_label_smoothing_is_of_a_loss_that_is_given(teacher):
    smooth = dataclasses.replace(FAST, label_smoothing=0.1)
    with pytest.raises(SettingError, match=r"hard_loss=nn.CrossEntropyLoss\(label_smoothing"):
        fw.distill(teacher, net(), loader(), settings=smooth)


class Pair(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x), x


def test_the_best_epoch_of_networks_that_return_tuples_is_found(teacher):
    plain, paired = (
        fw.distill(wrap(teacher), wrap(net()), loader(), loader(16), settings=FAST, progress=False)
        for wrap in (lambda network: network, Pair)
    )
    assert same(state(plain), state(paired.network))


@pytest.mark.parametrize("validate", [[torch.ones(2, 6)], [(torch.ones(2, 6), torch.ones(2, 3).long())]])
def test_a_validation_split_that_cannot_be_counted_is_refused_before_training(teacher, validate):
    def hard_loss(outputs, targets):
        pytest.fail("trained")

    with pytest.raises(TrainingError, match=r"A batch is|Accuracy takes logits"):
        fw.distill(teacher, net(), loader(), validate, hard_loss=hard_loss, settings=FAST, progress=False)


class Drawn(fw.distill.DistillationLoss):
    """Draws its projector from torch's generator, as losses of users do."""

    features = "embedding"

    def prepare(self, student, teacher):
        self.map = nn.Linear(student.features[0].shape[1], teacher.features[0].shape[1])

    def forward(self, student, teacher, lesson):
        return (self.map(student.features[0]) - teacher.features[0]).square().mean()


def test_what_losses_draw_is_of_the_seed(teacher):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(fw.distill(teacher, net_of(0), loader(), loss=Drawn(), settings=FAST, progress=False))
    assert same(state(found[0]), state(found[1]))
