"""bf16 only where it pays, or where it was asked for."""

import pytest
import torch

from featherweight.errors import SettingError
from featherweight.training import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "launched", "native", "expected"),
    [
        ("auto", "no", False, "fp32"),
        ("auto", "no", True, "bf16"),
        ("auto", "bf16", False, "bf16"),
        ("fp32", "bf16", True, "fp32"),
        ("bf16", "no", False, "bf16"),
        ("fp32", "fp16", True, "fp32"),
    ],
)
def test_choice(monkeypatch, asked, launched, native, expected):
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: native)
    assert precision.choose_precision(asked, launched, CPU) == expected


def test_a_launched_precision_that_the_loop_lacks_is_refused():
    with pytest.raises(SettingError, match=r"'fp16'.*--mixed_precision bf16"):
        precision.choose_precision("auto", "fp16", CPU)


@pytest.mark.parametrize(
    ("line", "native"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f avx512bw", False),
        ("Features\t: fp asimd bf16 sve", True),
        ("model name\t: bf16", False),
    ],
)
def test_flags_of_the_cpu(tmp_path, monkeypatch, line, native):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    flags = precision._proc_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "_cpu_flags", lambda: flags)
    assert precision.has_native_bf16(CPU) is native


def test_a_system_without_cpuinfo_has_no_flags(tmp_path):
    assert precision._proc_flags(tmp_path / "none") == frozenset()


def test_encoders_of_torch_infer_in_bf16_on_padded_texts():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2).eval()
    texts, padding = torch.randn(2, 4, 8), torch.tensor([[False] * 4, [False, False, True, True]])
    expected = encoder(texts, src_key_padding_mask=padding).detach()  # with gradients, operator by operator
    with torch.no_grad(), precision.autocast("bf16", CPU):
        found = encoder(texts, src_key_padding_mask=padding)
    assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
