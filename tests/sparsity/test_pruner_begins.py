"""Where a Pruner begins and goes on: given masks, attaching, saved states, settings and data."""

import copy

import pytest
import torch
from pruner_toy import OPTIMIZERS, batches, network, train
from torch import nn

from featherweight.errors import MaskError, ModelError, SettingError
from featherweight.sparsity import Masks, Pruner, prune
from featherweight.sparsity.adapters._lent import Lent
from featherweight.sparsity.allocation import PerLayer
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import criteria
from featherweight.sparsity.schedules import Cubic, OneShot


def test_save_and_resume_equals_one_run():
    def start(model):
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        return optimizer, Pruner(model, 0.9, schedule=Cubic(begin=0, end=12, every=3))

    data = list(batches(20))
    whole = network()
    optimizer, pruner = start(whole)
    pruner.attach(optimizer)
    train(whole, optimizer, data)

    first = network()
    optimizer, pruner = start(first)
    pruner.attach(optimizer)
    train(first, optimizer, data[:7])
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict(), pruner.state_dict()))

    second = network()
    optimizer, pruner = start(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    pruner.load_state_dict(saved[2])
    pruner.attach(optimizer)
    train(second, optimizer, data[7:])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_resuming_applies_the_masks_to_a_dense_model_at_once():
    source = network()
    optimizer = OPTIMIZERS["adam"](source.parameters())
    pruner = Pruner(source, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    model = network()
    other = Pruner(model, 0.9, schedule=OneShot())
    other.load_state_dict(pruner.state_dict())
    pruner.masks.check(model)


def test_a_state_of_another_network_is_refused():
    state = Pruner(nn.Sequential(nn.Linear(3, 3))).state_dict()
    with pytest.raises(MaskError, match=r"other weights.*3\.weight"):
        Pruner(network()).load_state_dict(state)


def test_continues_from_given_masks():
    model = network()
    masks = prune(model, 0.5)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=5, end=10, every=1), masks=Masks.from_zeros(model))
    pruner.attach(optimizer)
    assert pruner.sparsity == pytest.approx(0.5, abs=1e-3)
    train(model, optimizer, batches(12), after=lambda: masks.check(model))
    assert pruner.sparsity == pytest.approx(0.9, abs=1e-3)


def test_a_pruned_model_can_be_fine_tuned_at_its_own_sparsity():
    model = network()
    masks = prune(model, 0.9)  # keeps 51 of 512, a little less than a tenth
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=0, end=3, every=1), masks=masks)
    pruner.attach(optimizer)
    train(model, optimizer, batches(5), after=lambda: masks.check(model))
    assert pruner.masks.kept == masks.kept


def test_zero_initialised_weights_may_train():
    model = network()
    nn.init.zeros_(model[3].weight)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.5, schedule=Cubic(begin=5, end=10, every=1))
    pruner.attach(optimizer)
    train(model, optimizer, batches(4))
    assert bool((model[3].weight != 0).all())


def test_attach_errors():
    model = network()
    pruner = Pruner(model)
    with pytest.raises(SettingError, match="plan"):
        pruner.attach(OPTIMIZERS["adam"](model.parameters()))
    pruner.plan(100)
    with pytest.raises(ModelError, match="holds none"):
        pruner.attach(OPTIMIZERS["adam"](network().parameters()))
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner.attach(optimizer)
    with pytest.raises(SettingError, match="attached already"):
        pruner.attach(optimizer)
    pruner.detach()
    train(model, optimizer, batches(1))
    assert pruner.step == 0


def test_attaching_zeroes_what_is_pruned_already():
    masks, model = prune(network(), 0.5), network()
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=5, end=10, every=1), masks=masks)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner.attach(optimizer)
    masks.check(model)
    pruner.detach()
    train(model, optimizer, batches(1))
    pruner.attach(optimizer)
    masks.check(model)


def test_attaching_again_does_not_score_again():
    scored = []

    def criterion(weights, context):
        scored.append(len(scored))
        return {name: weight.abs() for name, weight in weights.items()}

    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, criterion=criterion, schedule=OneShot(begin=2))
    pruner.attach(optimizer)
    train(model, optimizer, batches(2))
    assert scored == [0]
    pruner.detach()
    again = Pruner(model, 0.9, criterion=criterion, schedule=OneShot(begin=2))
    again.load_state_dict(pruner.state_dict())
    for each in (pruner, again):
        each.attach(optimizer)
    assert scored == [0]


def test_the_fingerprint_of_a_callable_does_not_depend_on_where_it_lies_in_memory():
    def fingerprint():
        return Pruner(network(), criterion=lambda weights, context: dict(weights)).fingerprint()

    assert "<lambda>" in fingerprint()
    assert "0x" not in fingerprint()


@pytest.mark.parametrize("schedule", [OneShot, None])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(SettingError, match="schedule is a name or an object"):
        Pruner(network(), schedule=schedule)


def test_making_a_pruner_changes_nothing():
    model = network()
    before = copy.deepcopy(model.state_dict())
    Pruner(model, 0.9, schedule=OneShot())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_an_allocation_looks_at_the_model_once_when_the_pruner_is_attached():
    class Looks:
        seen = 0

        def prepared(self, context):
            Looks.seen += 1
            assert context.data == "data"
            return lambda scores, kept: {"0.weight": kept - 20, "3.weight": 20}

        def __call__(self, scores, kept):
            raise AssertionError("was not prepared")

    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.8, allocation=Looks(), schedule=Cubic(begin=1, end=5, every=1), data="data")
    assert Looks.seen == 0
    pruner.attach(optimizer)
    train(model, optimizer, batches(6))
    assert Looks.seen == 1
    assert pruner.masks["3.weight"].kept == 20


# Data that are missing


BLIND = OneShot(begin=1000)


@pytest.mark.parametrize("criterion", ["taylor", "snip", "gradient", "grasp", "fisher", "wanda", "synflow"])
def test_a_criterion_without_its_data_is_refused_at_once(criterion):
    with pytest.raises(SettingError, match=f"criterion='{criterion}'.* looks at data: pass data="):
        Pruner(network(), criterion=criterion, schedule=BLIND)
    with pytest.raises(SettingError, match=f"criterion='{criterion}'.*got a str"):
        Pruner(network(), criterion=criteria[criterion], schedule=BLIND, data="fashion_mnist")
    with pytest.raises(SettingError, match="looks at data"):
        Lent(None, {"criterion": criterion, "schedule": BLIND})
    Pruner(network(), criterion=criterion, schedule=BLIND, data=list(batches(1)))


@pytest.mark.parametrize("allocation", ["sensitivity", PerLayer({"0": 0.9}, rest="sensitivity")])
def test_an_allocation_without_its_data_is_refused_at_once(allocation):
    with pytest.raises(SettingError, match="allocation='sensitivity' looks at data: pass data="):
        Pruner(network(), allocation=allocation, schedule=BLIND)
    Pruner(network(), allocation=allocation, schedule=BLIND, data=list(batches(1)))


def test_synflow_takes_an_example_and_no_losses():
    Pruner(network(), criterion="synflow", schedule=BLIND, data=torch.ones(1, 12))
    with pytest.raises(SettingError, match="a function of losses has not"):
        Pruner(network(), criterion="synflow", schedule=BLIND, data=lambda model: [])


def test_a_criterion_of_ones_own_may_check_its_data():
    class Picky:
        def check_data(self, data):
            raise SettingError(f"not {data}")

        def __call__(self, weights, context):
            return dict(weights)

    with pytest.raises(SettingError, match="not these"):
        Pruner(network(), criterion=Picky(), schedule=BLIND, data="these")


def test_data_that_can_be_read_only_once_are_refused():
    for data in (batches(4), iter(list(batches(4))), Calibration.of(batches(4))):
        with pytest.raises(SettingError, match=r"read at each update, and a .* only once"):
            Pruner(network(), criterion="taylor", data=data)
    with pytest.raises(SettingError, match="only once"):
        Lent(None, {"criterion": "taylor", "data": batches(4)})
