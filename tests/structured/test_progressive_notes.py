"""What a run noted of its cuts may be damaged; that is said in words."""

import json

import pytest

from featherweight.errors import ResumeError
from featherweight.structured.progressive import _read_note

NOTE = {"asked": ["macs", 0.5], "left": 0.5, "params": 3, "macs": 4, "cut": 1, "predicted": 0.5}


def written(folder, value):
    path = folder / "cut-1.json"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


def test_a_note(tmp_path):
    asked, noted = _read_note(written(tmp_path, NOTE))
    assert (asked, {"asked": asked} | noted) == (NOTE["asked"], NOTE)
    earlier = {name: value for name, value in NOTE.items() if name != "predicted"}
    assert _read_note(written(tmp_path, earlier))[1]["cut"] == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'{"asked": [',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        [],
        3,
        {},
        {k: v for k, v in NOTE.items() if k != "asked"},
        {k: v for k, v in NOTE.items() if k != "left"},
        NOTE | {"left": "0.5"},
        NOTE | {"left": None},
        NOTE | {"macs": True},
        NOTE | {"more": 3},
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_one(tmp_path, value):
    with pytest.raises(ResumeError, match=r"cut-1\.json' is damaged: .* Remove"):
        _read_note(written(tmp_path, value))
