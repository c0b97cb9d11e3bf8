"""``featherweight inspect``, of files and of networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

import featherweight as fw

REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "accelerate", "matplotlib", "jinja2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from featherweight.cli import main
sys.argv = ["featherweight", *sys.argv[1:]]
main()
"""


@pytest.fixture
def pruned(folder):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Linear(64, 4))
    fw.prune(model, 0.75)
    return model


def total_nonzeros(model):
    return sum(int(p.count_nonzero()) for p in model.parameters())


def test_a_compact_file(invoke, pruned, folder):
    fw.save(pruned, "a.safetensors", metadata={"maker": "me"})
    result = invoke("inspect", "a.safetensors", "--json", "a.json")
    assert result.exit_code == 0
    assert "0.weight" in result.stdout
    assert "maker: me" in result.stdout
    record = json.loads((folder / "a.json").read_text())
    assert record["compact"]
    assert record["bytes"] == (folder / "a.safetensors").stat().st_size
    assert record["nonzeros"] == total_nonzeros(pruned)
    assert record["dense_bytes"] == 4 * sum(p.numel() for p in pruned.parameters())
    assert [tensor["name"] for tensor in record["tensors"]] == list(pruned.state_dict())


def test_a_plain_file(invoke, pruned, folder):
    save_file(pruned.state_dict(), "a.safetensors")
    assert invoke("inspect", "a.safetensors", "--json", "a.json").exit_code == 0
    record = json.loads((folder / "a.json").read_text())
    assert not record["compact"]
    assert record["nonzeros"] == total_nonzeros(pruned)


def test_a_file_needs_no_torch(pruned, folder):
    fw.save(pruned, "a.safetensors")
    command = [sys.executable, "-W", "error", "-c", REFUSE, "inspect"]
    ran = subprocess.run([*command, "a.safetensors"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "0.weight" in ran.stdout
    (folder / "mynet.py").write_text("def net(): pass")
    ran = subprocess.run([*command, "mynet:net"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "Error: this needs torch: pip install 'featherweight[torch]'\n"


@pytest.mark.parametrize("name", ["none.safetensors", "no/such/file"])
def test_no_such_file(refused, name):
    assert name in refused("inspect", name)


def test_a_damaged_file(refused, pruned, folder):
    fw.save(pruned, "a.safetensors")
    whole = (folder / "a.safetensors").read_bytes()
    (folder / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "a.safetensors" in refused("inspect", "a.safetensors")


def test_an_option_for_networks_is_refused(refused, pruned):
    fw.save(pruned, "a.safetensors")
    assert "--input-shape is for a network" in refused("inspect", "a.safetensors", "--input-shape", "1,32")


def test_groups_of_a_network(invoke, mynet):
    result = invoke("inspect", "mynet:net", "--groups", "--input-shape", "1,8", "--json", "a.json")
    assert result.exit_code == 0, result.output
    record = json.loads((mynet / "a.json").read_text())
    (group,) = record["groups"]
    assert group == {"name": "0.weight", "units": 16, "places": ["0.weight[0]", "0.bias[0]", "2.weight[1]"]}
    frozen = {entry["place"]: entry["why"] for entry in record["frozen"]}
    assert frozen.keys() == {"0.weight[1]", "2.weight[0]", "2.bias[0]"}
    assert frozen["2.weight[0]"] == ["output of the network"]
    assert "cannot be cut, output of the network: 2.weight[0], 2.bias[0]" in result.stdout


OWN = """
import torch

@torch.library.custom_op("of_a_test::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x

doubled.register_fake(torch.empty_like)

class Sums(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)

    def forward(self, x):
        return self.b(doubled(self.a(x)))
"""


def test_groups_name_the_operation_that_has_no_rule(invoke, folder):
    (folder / "sums.py").write_text(OWN)
    result = invoke("inspect", "sums:Sums", "--groups", "--input-shape", "2,4")
    assert "no rule for of_a_test.doubled.default, in the network itself" in result.stdout
    assert "cannot be cut, an operation without a rule (of_a_test.doubled.default)" in result.stdout


def test_groups_need_an_input(invoke, refused, mynet):
    assert invoke("inspect", "small_cnn", "--groups").exit_code == 0
    assert "--input-shape 1,3,224,224" in refused("inspect", "mynet:net", "--groups")


def test_a_network(invoke, mynet):
    result = invoke("inspect", "mynet:net", "--input-shape", "1,8", "--json", "a.json")
    assert result.exit_code == 0, result.output
    assert "no: bias or scale" in result.stdout
    record = json.loads((mynet / "a.json").read_text())
    assert record["params"] == 8 * 16 + 16 + 16 * 3 + 3
    assert record["prunable"] == 8 * 16 + 16 * 3
    assert record["profile"]["totals"]["macs"] == 8 * 16 + 16 * 3
    assert {row["name"]: row["left_alone"] is None for row in record["weights"]} == {
        "0.weight": True, "0.bias": False, "2.weight": True, "2.bias": False
    }  # fmt: skip


def test_without_an_input_shape_says_what_is_missing(invoke, mynet):
    assert "--input-shape" in invoke("inspect", "mynet:net").stdout


def test_weights_are_those_of_the_file(invoke, refused, mynet):
    zeros = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    fw.prune(zeros, 0.5)
    fw.save(zeros, "w.safetensors")
    invoke("inspect", "mynet:net", "--weights", "w.safetensors", "--json", "a.json")
    assert json.loads((mynet / "a.json").read_text())["nonzeros"] == total_nonzeros(zeros)
    assert "does not fit" in refused("inspect", "small_cnn", "--weights", "w.safetensors")


def test_a_network_of_the_zoo_knows_its_input(invoke, mynet):
    invoke("inspect", "small_cnn", "--json", "a.json")
    assert json.loads((mynet / "a.json").read_text())["profile"]["batch"] == 1


@pytest.mark.parametrize("shape", ["", "1,x", "0,3", "1,-2"])
def test_a_wrong_shape(refused, mynet, shape):
    assert "--input-shape is sizes of at least 1" in refused("inspect", "mynet:net", "--input-shape", shape)


def test_a_shape_that_does_not_fit(refused, mynet):
    for words in ([], ["--groups"]):
        said = refused("inspect", "mynet:net", *words, "--input-shape", "1,9")
        assert said.startswith(
            "Error: --input-shape 1,9 does not fit: the forward pass of Sequential fails in"
        )
        assert said.count("\n") == 1
        assert ".." not in said


def test_unknown_names_list_the_choices(refused):
    said = refused("inspect", "fashion_cmm")
    assert "No trained network is called 'fashion_cmm'" in said


def test_no_file_is_left_behind(refused, mynet):
    refused("inspect", "mynet:nett", "--json", "a.json")
    assert not os.path.exists("a.json")


def test_names_that_are_long_are_shown_whole(invoke, deeper):
    source = (deeper / "mynet.py").read_text()
    name = "a_name_that_goes_on_and_on_" * 5
    source += f"def long(): return torch.nn.Sequential(OrderedDict({name}=net()))\n"
    (deeper / "mynet.py").write_text(source + "from collections import OrderedDict\n")
    result = invoke("inspect", "mynet:long", "--groups", "--input-shape", "1,8")
    assert "…" not in result.stdout


def test_token_ids(invoke, deeper):
    named = ["--input-shape", "mask=2,5:bool", "--input-shape", "ids=2,5:int64"]
    result = invoke("inspect", "mynet:Tokens", "--groups", *named, "--json", "a.json")
    assert result.exit_code == 0, result.output
    record = json.loads((deeper / "a.json").read_text())
    assert record["input_shape"] == [[2, 5], [2, 5]]
    assert {group["name"] for group in record["groups"]} == {"embedding.weight[1]", "inner.weight"}
    in_order = ["--input-shape", "2,5:int64", "--input-shape", "2,5:bool"]
    assert invoke("inspect", "mynet:Tokens", *in_order, "--json", "a.json").exit_code == 0
    assert json.loads((deeper / "a.json").read_text())["profile"]["batch"] == 2
