"""Entries of a configuration say the new sizes, so that a new network of it has the cut one's."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from featherweight.errors import ModelError
from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured

IDS = torch.randint(0, 30, (2, 7), generator=torch.Generator().manual_seed(0))


@dataclass
class Config:
    vocabulary: int = 30
    hidden_size: int = 24
    heads: int = 4
    inner: int = 40
    layers: int = 2
    end_token: int = 4  # a number like the heads', and no size


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.heads = config, config.heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.up, self.down = (
            nn.Linear(config.hidden_size, config.inner),
            nn.Linear(config.inner, config.hidden_size),
        )

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = torch.softmax(q @ k.transpose(-1, -2) * 0.4, dim=-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(x)))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.hidden_size, 3)

    def get_input_embeddings(self):
        return self.embed

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model(Config()).eval()


def test_a_new_network_of_the_configuration_is_the_cut_one(model):
    small, surgery = prune_structured(model, IDS, keep=0.5, scope="group", skip=["*.qkv.*"])
    assert small is model
    assert small.config == replace(Config(), inner=20)
    assert surgery.attributes[""] == {"config.inner": 20}
    again = Model(copy.deepcopy(small.config)).eval()
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(again(IDS), small(IDS))


def test_where_no_configuration_makes_it_what_is_the_same_everywhere_is_said(model):
    small, _ = prune_structured(model, IDS, keep=0.5, scope="group")
    assert small.embed.weight.shape[1] == 12
    assert [block.heads for block in small.blocks] == [2, 2]
    assert small.config == replace(Config(), hidden_size=12, heads=2)  # halves of heads: inner is no name


def test_a_number_that_is_no_size_stays(model):
    """The end token has the number of heads, and no size tells it: without it the new network is the same."""
    small, _ = prune_structured(model, IDS, keep=0.5, scope="group", skip=["*.up.*", "embed*"])
    assert small.config.end_token == 4
    assert small.config.layers == 2


def test_loading_sets_the_entries_too(model, tmp_path):
    small, _ = prune_structured(copy.deepcopy(model), IDS, keep=0.5, scope="group")
    save(small, tmp_path / "small.safetensors")
    fresh = Model(Config()).eval()
    loaded = load(tmp_path / "small.safetensors", into=fresh)
    assert loaded.config == small.config
    torch.testing.assert_close(loaded(IDS), small(IDS))


def test_entries_are_as_they_were_where_the_file_does_not_fit(model, tmp_path):
    small, _ = prune_structured(copy.deepcopy(model), IDS, keep=0.5, scope="group")
    save(small, tmp_path / "small.safetensors")
    other = Model(replace(Config(), layers=1))
    with pytest.raises(ModelError):
        load(tmp_path / "small.safetensors", into=other)
    assert other.config == replace(Config(), layers=1)
