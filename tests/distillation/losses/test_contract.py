"""What holds for every registered loss, whatever it looks at."""

import copy
import sys

import pytest
import torch

from featherweight.distillation.losses import UNLABELLED, DistillationLoss, Heads, Lesson, View, losses
from featherweight.errors import FeatherweightError, ModelError

SEQUENCES = {"token", "sequence"}  # read logits (n, tokens, vocabulary)
OF_LABELS = {"sequence"}  # do not look at the teacher's view
NO_MEAN = {"crd", "sp"}  # more examples are more negatives; similarities of an example are told by their sum
TOKENS = 5


def example(name, n=4, seed=0, dtype=torch.float32, equal=False):
    """Return views of student and teacher and a lesson, with all that the loss ``name`` may ask for.

    ``equal``: the teacher has the student's shapes.
    """
    draw = torch.Generator().manual_seed(seed)

    def tensor(*shape):
        return torch.randn(n, *shape, generator=draw).to(dtype).requires_grad_()

    def view(wide):
        kind, k = losses[name], 2 if wide else 1
        features = {
            None: [],
            "stages": [(4 * k, 8, 8), (6 * k, 4, 4)],
            "blocks": [(TOKENS, 8 * k), (TOKENS, 8 * k)],
            "embedding": [(6 * k,)],
        }[kind.features]
        return View(
            tensor(*((TOKENS, 11) if name in SEQUENCES else (7,))),
            tuple(tensor(*shape) for shape in features),
            tuple(
                Heads(*(tensor(2, TOKENS, 4 * k) for _ in range(3)))
                for _ in range({None: 0, "last": 1, "all": 2}[kind.attention])
            ),
        )

    targets = torch.randint(0, 7, (n, TOKENS) if name in SEQUENCES else (n,), generator=draw)
    return view(False), view(not equal), Lesson(targets)


def made(name, student, teacher):
    loss = losses[name]()
    loss.prepare(student, teacher)
    return loss


def mapped(view, change):
    """Return a view with ``change`` done to each tensor."""
    return View(
        None if view.logits is None else change(view.logits),
        tuple(map(change, view.features)),
        tuple(Heads(change(x.query), change(x.key), change(x.value)) for x in view.attention),
    )


def leaves(view):
    found = []
    mapped(view, found.append)
    return found


def state(loss):
    return copy.deepcopy(loss.state_dict())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(params=losses)
def name(request):
    return request.param


def test_its_header_has_the_formula_the_reduction_and_the_paper(name):
    kind = losses[name]
    header = sys.modules[kind.__module__].__doc__
    assert kind.__doc__
    assert "https://" in header
    assert "::\n\n    " in header
    assert "L = " in header
    assert "mean over" in header


def test_it_says_what_it_needs(name):
    kind = losses[name]
    assert issubclass(kind, DistillationLoss)
    assert kind.features in {None, "stages", "blocks", "embedding"}
    assert kind.attention in {None, "last", "all"}
    assert kind.needs_logits or kind.needs_targets or kind.features or kind.attention


def test_it_is_a_finite_scalar_in_float32_that_moves_the_student_only(name):
    student, teacher, lesson = example(name)
    value = made(name, student, teacher)(student, teacher, lesson)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert bool(value.isfinite())
    value.backward()
    slopes = [x.grad for x in leaves(student) if x.grad is not None]
    assert sum(float(slope.abs().sum()) for slope in slopes) > 1e-4
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    assert all(x.grad is None or not x.grad.any() for x in leaves(teacher)), "a teacher is not taught"


def test_it_learns_what_it_made(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    loss(student, teacher, lesson).backward()
    assert all(p.requires_grad and p.grad is not None and bool(p.grad.any()) for p in loss.parameters())


def test_it_is_a_mean_over_examples(name):
    if name in NO_MEAN:
        pytest.skip("by its nature")
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher).eval()
    doubled = [mapped(view, lambda x: torch.cat([x, x])) for view in (student, teacher)]
    twice = loss(*doubled, Lesson(torch.cat([lesson.targets, lesson.targets])))
    torch.testing.assert_close(twice, loss(student, teacher, lesson), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_computes_in_float32_whatever_the_networks_do(name, dtype):
    student, teacher, lesson = example(name, dtype=dtype)
    wide = [mapped(view, lambda x: x.detach().float()) for view in (student, teacher)]
    value = made(name, student, teacher).eval()(student, teacher, lesson)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, made(name, *wide).eval()(*wide, lesson), rtol=1e-6, atol=1e-7)
    value.backward()
    assert all(bool(x.grad.isfinite().all()) for x in leaves(student) if x.grad is not None)


def test_it_stays_in_float64_where_it_is_given_that(name):
    student, teacher, lesson = example(name, dtype=torch.float64)
    value = made(name, student, teacher)(student, teacher, lesson)
    assert value.dtype == torch.float64


def test_autocast_leaves_it_in_float32(name):
    student, teacher, lesson = example(name)
    with torch.autocast("cpu", torch.bfloat16):
        value = made(name, student, teacher)(student, teacher, lesson)
    assert value.dtype == torch.float32


def test_an_equal_teacher_costs_least(name):
    if name in OF_LABELS:
        pytest.skip("looks at labels only")
    student, teacher, lesson = example(name, equal=True)
    loss = made(name, student, teacher).eval()
    assert loss(teacher, teacher, lesson) < loss(student, teacher, lesson)


def test_another_teacher_teaches_something_else(name):
    if name in OF_LABELS:
        pytest.skip("looks at labels only")
    student, teacher, lesson = example(name)
    _, other, _ = example(name, seed=1)
    loss = made(name, student, teacher).eval()
    slopes = []
    for one in (teacher, other):
        found = torch.autograd.grad(loss(student, one, lesson), leaves(student), allow_unused=True)
        slopes.append(torch.cat([slope.flatten() for slope in found if slope is not None]))
    assert (slopes[0] - slopes[1]).norm() > 0.05 * slopes[0].norm()


def test_a_step_on_it_alone_lowers_it(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher).eval()
    before = loss(student, teacher, lesson)
    before.backward()
    norm = sum(float(x.grad.square().sum()) for x in leaves(student) if x.grad is not None)
    size = 0.02 * before.item() / norm  # along a line the loss would fall by 2%

    def moved(x):
        return x.detach() if x.grad is None else x.detach() - size * x.grad

    after = loss(mapped(student, moved), teacher, lesson)
    assert after.item() < 0.995 * before.item()


def test_it_changes_nothing_it_is_given(name):
    student, teacher, lesson = example(name)
    before = [x.detach().clone() for x in (*leaves(student), *leaves(teacher), lesson.targets)]
    made(name, student, teacher)(student, teacher, lesson).backward()
    after = (*leaves(student), *leaves(teacher), lesson.targets)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_batch_of_one_is_fine(name):
    student, teacher, lesson = example(name, n=1)
    value = made(name, student, teacher)(student, teacher, lesson)
    value.backward()
    assert bool(value.isfinite())
    assert all(bool(x.grad.isfinite().all()) for x in leaves(student) if x.grad is not None)


@pytest.mark.parametrize("equal", [True, False])
def test_zeros_are_fine(name, equal):
    student, teacher, lesson = example(name, equal=equal)
    for own, goal in ((True, False), (False, True), (True, True)):
        views = [
            mapped(view, lambda x, z=zero: (x.detach() * (not z)).requires_grad_())
            for view, zero in ((student, own), (teacher, goal))
        ]
        value = made(name, *views)(*views, lesson)
        value.backward()
        assert bool(value.isfinite())
        assert all(bool((x.grad.abs() < 1e4).all()) for x in leaves(views[0]) if x.grad is not None)


def test_other_batches_than_the_example_are_fine(name):
    loss = made(name, *example(name, n=2)[:2])
    for n in (1, 5, 3):
        assert bool(loss(*example(name, n=n, seed=n)).isfinite())


def test_of_two_pairs_of_features_it_is_the_mean(name):
    if losses[name].features is None or name == "crd":
        pytest.skip("it takes no features, or one pair")
    student, teacher, lesson = example(name, equal=True)

    def value(*numbers):
        views = [View(None, tuple(v.features[i] for i in numbers), v.attention) for v in (student, teacher)]
        return float(made(name, *views)(*views, lesson).detach())

    assert value(0, 0) == pytest.approx(value(0), rel=1e-5), "projectors start as the identity"


def test_preparing_twice_is_preparing_once_and_takes_no_random_numbers(name):
    student, teacher, _ = example(name)
    torch.manual_seed(5)
    drawn = torch.get_rng_state()
    loss = made(name, student, teacher)
    before, parameters = state(loss), list(loss.parameters())
    loss.prepare(student, teacher)
    assert same(before, loss.state_dict())
    assert [id(p) for p in loss.parameters()] == [id(p) for p in parameters]
    assert torch.equal(torch.get_rng_state(), drawn), "each process must make the same"


def test_what_is_made_in_inference_mode_can_be_trained(name):
    student, teacher, lesson = example(name)
    with torch.inference_mode():
        loss = made(name, student, teacher)
    loss(student, teacher, lesson).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_a_copy_is_the_same_and_apart(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    loss(student, teacher, lesson).backward()
    other = copy.deepcopy(loss)
    assert torch.equal(other(student, teacher, lesson), loss(student, teacher, lesson))
    before = state(loss)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.add_(1)
    assert same(before, loss.state_dict())


def test_its_state_goes_on_in_another(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    for step in range(2):
        loss(*example(name, seed=step))
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.mul_(1.5)
    other = made(name, *example(name, n=2, seed=9)[:2])
    other.load_state_dict(state(loss))
    assert torch.equal(other(student, teacher, lesson), loss(student, teacher, lesson))
    assert same(other.state_dict(), loss.state_dict())


def test_the_temperature_of_the_lesson_is_read_where_it_says_so(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher).eval()
    plain = loss(student, teacher, lesson)
    told = loss(student, teacher, Lesson(lesson.targets, temperature=1.7))
    assert torch.equal(told, plain) != losses[name].takes_temperature


def test_labels_are_needed_where_it_says_so(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    if losses[name].needs_targets:
        with pytest.raises(FeatherweightError, match="label"):
            loss(student, teacher, Lesson())
    else:
        assert bool(loss(student, teacher, Lesson()).isfinite())
    unlabelled = Lesson(torch.full_like(lesson.targets, UNLABELLED))
    assert bool(loss(student, teacher, unlabelled).isfinite())


def test_padding_does_not_count(name):
    if not (name in SEQUENCES or losses[name].features == "blocks" or losses[name].attention):
        pytest.skip("has no tokens")
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher).eval()
    mask = torch.arange(TOKENS) < torch.tensor([[5], [3], [2], [4]])
    targets = lesson.targets.masked_fill(~mask, UNLABELLED) if name in SEQUENCES else lesson.targets

    def noisy(x):
        if x.ndim == 2:
            return x
        return x.detach() + 3 * ~mask.view((4, 1, TOKENS, 1) if x.ndim == 4 else (4, TOKENS, 1))

    told = Lesson(targets, mask)
    clean = loss(student, teacher, told)
    torch.testing.assert_close(loss(mapped(student, noisy), mapped(teacher, noisy), told), clean)
    assert (clean - loss(student, teacher, lesson)).abs() > 1e-4


def refused(loss, student, teacher, lesson):
    before = state(loss)
    with pytest.raises(ModelError) as caught:
        loss(student, teacher, lesson)
    assert same(before, loss.state_dict())
    assert len(str(caught.value)) > 30


def test_views_that_lack_what_it_compares_are_refused(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    refused(loss, View(), teacher, lesson)
    if name not in OF_LABELS:
        refused(loss, student, View(), lesson)


def test_other_shapes_than_it_can_compare_are_refused(name):
    student, teacher, lesson = example(name)
    loss = made(name, student, teacher)
    if losses[name].needs_logits:
        refused(loss, student, mapped(teacher, lambda x: x[..., :-1]), lesson)
    if name not in OF_LABELS:
        refused(loss, student, mapped(teacher, lambda x: x[:3]), lesson)
    refused(loss, mapped(student, lambda x: x.flatten()), mapped(teacher, lambda x: x.flatten()), lesson)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist"])
def test_a_single_logit_whose_softmax_is_always_1_is_refused(name):
    with pytest.raises(ModelError, match=r"two classes or more, got \(4, 1\): .* loss 'mse'"):
        losses[name]()(View(torch.randn(4, 1)), View(torch.randn(4, 1)), Lesson(torch.zeros(4).long()))


def test_the_squared_error_takes_a_single_logit():
    own = torch.zeros(4, 1, requires_grad=True)
    losses["mse"]()(View(own), View(torch.full((4, 1), 2.0)), Lesson()).backward()
    assert own.grad.flatten().tolist() == [-1.0] * 4


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "mse"])
def test_maps_of_classes_are_not_sent_to_the_loss_on_tokens(name):
    maps = View(torch.randn(2, 3, 4, 4))
    with pytest.raises(ModelError, match=r"got \(2, 3, 4, 4\): maps .* as features"):
        losses[name]()(maps, maps, Lesson(torch.zeros(2).long()))


@pytest.mark.parametrize("name", ["kd", "dkd", "dist"])
def test_a_class_that_is_forbidden_in_both_networks_adds_nothing(name):
    student, teacher, lesson = example(name)
    found = []
    for column in (torch.full((4, 1), -torch.inf), torch.full((4, 1), -1e3)):
        views = [View(torch.cat([view.logits.detach(), column], 1)) for view in (student, teacher)]
        own = views[0].logits.requires_grad_()
        value = losses[name]()(*views, lesson)
        (slope,) = torch.autograd.grad(value, own)
        found.append((value.detach(), slope))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
