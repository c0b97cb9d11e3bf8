"""What a Distiller refuses before anything runs, and in words."""

import pytest
import torch
from tests.distillation.distilling import Asking, Near, Net, batch, distiller, hooks
from torch import nn

from featherweight.distillation.distiller import Distiller
from featherweight.distillation.losses import DistillationLoss
from featherweight.errors import DataError, FeatherweightError, ModelError, SettingError, TrainingError


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


def test_language_models_of_other_vocabularies_are_sent_to_decoded_texts():
    teacher, student = (nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, size)) for size in (9, 7))
    with pytest.raises(ModelError, match=r"\(2, 3, 7\).*\(2, 3, 9\).*vocabulary.*decoded texts \(sequence\)"):
        distiller(teacher, student, torch.ones(2, 3).long(), loss="token", alpha=1.0)
