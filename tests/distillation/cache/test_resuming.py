"""Filling that was interrupted goes on, or begins anew."""

import threading

import pytest
from tests.distillation.cache.functions import (
    Function,
    N,
    Vectors,
    assert_same,
    contents,
    crash,
    ctrl_c,
    filled,
)
from torch.utils.data import DataLoader

from featherweight.distillation.cache import TeacherCache, fill
from featherweight.distillation.cache import filling as filling_module
from featherweight.errors import DataError


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(filling_module, "COMMIT_EVERY", 2)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(("epochs", "call"), [(1, 2), (1, 4), (1, 6), (3, 3), (3, 5)])
def test_a_run_that_dies_goes_on_from_what_is_on_the_disk(tmp_path, call, epochs):
    """The teacher is called once for the shapes, then 5 times an epoch; every 2nd batch is committed."""
    call += 5 * (epochs - 1)
    settings = {"data": Vectors(copies=epochs > 1), "epochs": epochs}
    with pytest.raises(OSError, match="went away"):
        filled(tmp_path / "c", teacher=Function(stop_at=call, action=crash), **settings)
    assert not (tmp_path / "c").exists()
    done = (call - 2) // 2 * 2
    with pytest.raises(DataError, match="not complete" if done else "no cache"):
        TeacherCache.open(tmp_path / "c")
    teacher = Function()
    filled(tmp_path / "c", teacher=teacher, **settings)
    assert teacher.calls == 1 + 5 * epochs - done
    filled(tmp_path / "whole", **settings)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_ctrl_c_saves_the_batch_that_was_running(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fill(Function(stop_at=4, action=ctrl_c).teaching, DataLoader(Vectors(), 8), tmp_path / "c")
    assert "Interrupted; 3 batches are saved" in capsys.readouterr().err
    teacher = Function()
    data = Vectors()
    fill(teacher.teaching, DataLoader(data, 8), tmp_path / "c")
    assert teacher.calls == 1 + 2
    assert "going on after batch 3" in capsys.readouterr().err
    assert data.taken[-(N - 24) :] == list(range(24, N))  # what is done is not loaded again
    assert_same(
        TeacherCache.open(tmp_path / "c").views(data.x)[0], Function().view(data.x), rtol=1e-3, atol=1e-6
    )


@pytest.mark.usefixtures("often")
def test_a_machine_that_dies_at_the_very_end(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("os.rename", lambda *_: crash())
        with pytest.raises(OSError, match="went away"):
            filled(tmp_path / "c")
    teacher = Function()
    filled(tmp_path / "c", teacher=teacher)
    assert teacher.calls == 1
    filled(tmp_path / "whole")
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def interrupted(folder, **settings):
    with pytest.raises(OSError, match="went away"):
        filled(folder, teacher=Function(stop_at=5, action=crash), **settings)
    return folder.with_name(f".{folder.name}.partial")


@pytest.mark.usefixtures("often")
def test_what_another_run_has_left_is_not_gone_on_with(tmp_path):
    partial = interrupted(tmp_path / "c")
    before = contents(partial)
    other = Vectors()
    other.x[0] += 1
    for settings in ({"teacher": Function(2.0)}, {"dtype": "fp32"}, {"batch": 4}, {"data": other}):
        with pytest.raises(DataError, match=r"not to be gone on with.*overwrite=True"):
            filled(tmp_path / "c", **settings)
        assert contents(partial).keys() == before.keys()
    teacher = Function(2.0)
    filled(tmp_path / "c", teacher=teacher, overwrite=True)
    assert teacher.calls == 6
    assert not partial.exists()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", ["keys.npy", "1.features.npy", "manifest.json"])
def test_what_is_left_damaged_is_not_gone_on_with(tmp_path, name):
    file = interrupted(tmp_path / "c") / name
    file.write_bytes(file.read_bytes()[:270])
    with pytest.raises(DataError, match="damaged"):
        filled(tmp_path / "c")
    filled(tmp_path / "c", overwrite=True).verify()


def test_a_second_process_waits_for_the_first(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert go_on.wait(10)

    first = threading.Thread(target=filled, args=(tmp_path / "c", None, Function(stop_at=3, action=wait)))
    second_teacher = Function()
    second = threading.Thread(target=filled, args=(tmp_path / "c", None, second_teacher))
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    go_on.set()
    first.join(10)
    second.join(10)
    assert second_teacher.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
