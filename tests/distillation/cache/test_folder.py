"""What is in the folder of a cache: whole, damaged, or of something else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.distillation.cache.functions import (
    Function,
    Vectors,
    assert_same,
    contents,
    crash,
    filled,
)

from featherweight.distillation.cache import Identity, TeacherCache
from featherweight.distillation.cache.arrays import GrowingArray
from featherweight.distillation.cache.manifest import Manifest
from featherweight.errors import DataError


def test_a_cache_of_another_teacher_or_taps_is_refused_and_stays(tmp_path):
    filled(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(DataError, match=r"of another teacher.*overwrite=True"):
        filled(tmp_path / "c", teacher=Function(2.0))
    with pytest.raises(
        DataError, match=r"of other outputs: it has \('a', 'b'\), and the losses read \('a',\)"
    ):
        filled(tmp_path / "c", teacher=Function(taps=("a",)))
    with pytest.raises(DataError, match="less than 'fp32'"):
        filled(tmp_path / "c", dtype="fp32")
    with pytest.raises(DataError, match="of another teacher"):
        TeacherCache.open(tmp_path / "c", Identity("other", ("a", "b")))
    assert contents(tmp_path / "c") == before
    cache = filled(tmp_path / "c", teacher=Function(2.0), overwrite=True)
    assert_same(cache.views(Vectors().x)[0], Function(2.0).view(Vectors().x), rtol=1e-3, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_overwriting_fails_without_loss(tmp_path):
    filled(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(DataError, match="fetched twice"):
        filled(tmp_path / "c", Vectors(noise=1.0), overwrite=True)
    with pytest.raises(OSError, match="went away"):
        filled(tmp_path / "c", teacher=Function(stop_at=3, action=crash), overwrite=True)
    assert contents(tmp_path / "c") == before


@pytest.mark.parametrize("names", [["thesis.txt"], ["manifest.json", "thesis.txt"], ["weights.npy"]])
def test_a_folder_of_other_things_is_never_overwritten(tmp_path, names):
    (tmp_path / "c").mkdir()
    for name in names:
        (tmp_path / "c" / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"not a cache|damaged"):
            filled(tmp_path / "c", overwrite=overwrite)
    assert {path.name: path.read_text() for path in (tmp_path / "c").iterdir()} == dict.fromkeys(
        names, "mine"
    )
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="not a cache"):
        filled(tmp_path / "file", overwrite=True)


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "c").mkdir()
    assert len(filled(tmp_path / "c")) == 30


def test_no_cache_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match="There is no cache"):
        TeacherCache.open(tmp_path / "nowhere")
    filled(tmp_path / "c")
    manifest = Manifest.read(tmp_path / "c")
    replace(manifest, complete=False).write(tmp_path / "c")
    with pytest.raises(DataError, match="not complete"):
        TeacherCache.open(tmp_path / "c")


def test_no_flipped_byte_of_the_manifest_goes_unseen(tmp_path):
    filled(tmp_path / "c")
    file = tmp_path / "c" / "manifest.json"
    whole = file.read_bytes()
    seen = json.loads(whole)
    for at in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        file.write_bytes(changed)
        try:
            TeacherCache.open(tmp_path / "c")
        except DataError:
            continue
        assert json.loads(bytes(changed)) == seen  # a blank that is another blank
    for at in (0, 1, 100, len(whole) - 3):
        file.write_bytes(whole[:at])
        with pytest.raises(DataError, match="damaged"):
            TeacherCache.open(tmp_path / "c")


def test_a_manifest_of_another_version_or_form_is_refused(tmp_path, monkeypatch):
    filled(tmp_path / "c")
    manifest = Manifest.read(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr("featherweight.distillation.cache.manifest.VERSION", 3)
        with pytest.raises(DataError, match="format version 2; this release reads 3"):
            TeacherCache.open(tmp_path / "c")
    replace(manifest, layout=replace(manifest.layout, shapes="none")).write(tmp_path / "c")
    with pytest.raises(DataError, match="damaged"):
        TeacherCache.open(tmp_path / "c")


@pytest.mark.parametrize("name", ["keys.npy", "1.features.npy"])
@pytest.mark.parametrize("change", ["missing", "cut", "longer", "header", "other"])
def test_a_damaged_array_is_refused(tmp_path, name, change):
    filled(tmp_path / "c")
    file = tmp_path / "c" / name
    whole = file.read_bytes()
    if change == "missing":
        file.unlink()
    elif change == "other":
        np.save(file, np.zeros(3))
    else:
        file.write_bytes({"cut": whole[:-1], "longer": whole + b"0", "header": b"1" + whole[1:]}[change])
    with pytest.raises(DataError, match=rf"damaged: .*{name}.*overwrite=True"):
        TeacherCache.open(tmp_path / "c")


def test_flipped_bits_of_keys_are_seen_at_once_and_those_of_outputs_when_verified(tmp_path):
    cache = filled(tmp_path / "c")
    for name in ("keys.npy", "1.features.npy"):
        file = tmp_path / "c" / name
        data = bytearray(file.read_bytes())
        data[-5] ^= 4
        file.write_bytes(data)
    with pytest.raises(DataError, match=r"checksum of keys\.npy"):
        TeacherCache.open(tmp_path / "c")
    with pytest.raises(DataError, match=r"checksum of 1\.features\.npy"):
        cache.verify()


def test_what_was_written_is_a_numpy_file(tmp_path):
    array = GrowingArray(tmp_path / "a.npy", "<f4", (2, 3))
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    array.append(rows[:3])
    array.append(rows[3:])
    array.finish()
    array.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
