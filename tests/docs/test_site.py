"""The documentation builds without a warning, and its tables hold every entry of the registries."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from featherweight._registry import Registry

ROOT = Path(__file__).parents[2]
NAMES = [
    "criteria",
    "allocations",
    "patterns",
    "schedules",
    "structured criteria",
    "block criteria",
    "distillation losses",
    "networks",
    "data sets",
]


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hook", ROOT / "scripts" / "docs_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_a_row_an_entry(hook: ModuleType, name: str) -> None:
    head, rule, *rows = hook.table(name).splitlines()
    assert [row.split("`")[1] for row in rows] == list(hook.find(name))
    assert rows
    for row in (head, rule, *rows):
        assert row.replace(r"\|", "").count("|") == 4, row


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_documented(hook: ModuleType, name: str) -> None:
    for row in hook.table(name).splitlines()[2:]:
        _, _, summary, origin, _ = row.replace(r"\|", "").split("|")
        assert len(summary.split()) >= 3, row
        assert len(origin.split()) >= 3, row


def test_a_new_entry_has_its_row(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[type] = Registry("thing")
    registry.register("new")(Registry)
    monkeypatch.setattr(hook, "find", lambda name: registry)
    page = hook.on_page_markdown("# Page\n\n<!-- table: anything -->\n")
    assert "| `new` | Names to things of one kind. | One generic, typed registry" in page


def test_pipes_and_addresses_fit_a_cell(hook: ModuleType) -> None:
    assert hook.cell("``|w|``\n  (https://a.org/b)") == r"`\|w\|` (<https://a.org/b>)"


def test_pages_ask_for_every_table() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    for name in NAMES:
        assert f"<!-- table: {name} -->" in text


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    methods = (tmp_path / "reference" / "methods.html").read_text()
    assert "magnitude" in methods
    assert "<!-- table:" not in methods


def test_a_record_has_its_table(hook: ModuleType) -> None:
    page = hook.on_page_markdown("# Page\n\n<!-- record: compact file -->\n")
    assert "| resnet50 | fp16 | 102,469,840 |" in page


def test_every_record_is_on_the_page_of_figures(hook: ModuleType) -> None:
    text = (ROOT / "docs" / "reference" / "figures.md").read_text()
    hook.record("compact file")  # puts benchmarks in reach
    tables = importlib.import_module("benchmarks.tables").TABLES
    assert set(hook.RECORD.findall(text)) == set(tables)


def test_every_picture_of_a_record_is_on_the_page_of_figures(hook: ModuleType) -> None:
    text = (ROOT / "docs" / "reference" / "figures.md").read_text()
    hook.record("compact file")
    pictures = importlib.import_module("benchmarks.tables").PICTURES
    assert set(hook.PICTURE.findall(text)) == set(pictures)


def test_a_picture_follows_the_scheme_of_the_page(hook: ModuleType) -> None:
    page = hook.on_page_markdown("# Page\n\n<!-- picture: runtime speedup -->\n")
    assert "<figure" in page
    assert "mobilenet_v2</text>" in page
    assert "currentColor" in page
    assert "#1f2430" not in page


def test_the_figures_of_the_readme_are_those_of_the_records(hook: ModuleType) -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    accuracy = hook.record("accuracy of fashion_cnn").splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[5].strip() for line in accuracy[2:]}
    mean, _, rest = cells["progressive magnitude"].partition(" ± ")
    spread, seeds = rest.rstrip(")").split(" (")
    assert f"from 93.11% to {mean} ± {spread}% of 10,000 test images ({seeds} seeds" in readme
    assert f"instead of the small ones: {cells['progressive random, fine-tuned'].split(' ')[0]}%" in readme
    assert f"trained from scratch for as long: {cells['small from scratch'].split(' ')[0]}%" in readme
    assert f"Without fine-tuning: {cells['one-shot magnitude, no training']}%" in readme
    compact = [line.split("|") for line in hook.record("compact file").splitlines() if "resnet50" in line]
    for row in compact:
        assert f"{row[5].strip()} " in readme
    assert f"Read at {compact[0][7].strip()} MB" in readme
    times = [line.split("|") for line in hook.record("prune cost").splitlines() if "quartiles" not in line]
    ours, theirs = (float(row[3]) / 1000 for row in times[1:3])
    assert f"takes {ours:.2f} s for ResNet-50, `torch.nn.utils.prune` {theirs:.2f} s" in readme
    structured = {
        line.split("|")[1].strip(): line.split("|")[2]
        for line in hook.record("structured accuracy of fashion_cnn").splitlines()[2:]
    }
    assert f"It has {structured['featherweight, L2'].removesuffix(' (3) ').strip()}% of the test" in readme
    for title, says in (
        ("random channels", "random channels"),
        ("Torch-Pruning, group magnitude", "Torch-Pruning"),
    ):
        assert f"{says} {structured[title].split()[0]}%" in readme
    assert f"has {structured['the same shape from scratch'].split()[0]}%" in readme
    speeds = [line.split("|")[8].strip() for line in hook.record("structured speed").splitlines()[2:4]]
    assert f"is {speeds[0]}x faster at batch 1 in PyTorch and {speeds[1]}x faster in ONNX" in readme
    timm = next(line for line in hook.record("coverage").splitlines() if line.startswith("| timm"))
    passed, tried = timm.split("|")[2].split(" of ")
    assert f"{passed.strip()} of timm's {tried.strip()} families" in readme
    tables = importlib.import_module("benchmarks.runtime.tables")
    speeds = {
        record["network"]: record
        for record in tables.latest(tables.records(tables.SPEED))
        if (record["sparsity"], record["batch"], record["threads"], record["isa"]) == (0.9, 1, 1, "best")
    }
    assert f"{speeds['resnet50']['ms']['featherweight']['median']:.1f} ms against" in readme
    for network, title in (("resnet50", ""), ("vgg16_bn", "VGG-16-BN "), ("mobilenet_v2", "MobileNetV2 ")):
        assert f"{title}{tables.ratio(speeds[network]):.2f}x" in readme
