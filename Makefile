# Every target works on a fresh clone with nothing but Python 3.11+, a C++ compiler and pip.
#
#   PYTHON=python3.12   which Python makes .venv (3.11 or newer)
#   TORCH_INDEX=URL     package index for PyTorch alone. On Linux the default index carries the CUDA build, of
#                       several gigabytes; https://download.pytorch.org/whl/cpu carries the CPU build.
#   JOBS=4              how many processes run the tests

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
TORCH_INDEX ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools
NATIVE := CMakeLists.txt $(shell find native -name '*.cc' -o -name '*.h' -o -name '*.inl' -o -name CMakeLists.txt)
NATIVE_TESTS := build/native-tests
PEERS := build/peers
TORCH := $(shell grep '^torch==' constraints.txt)
CHECKED := src tests benchmarks scripts
STARTED := $(shell date +%s)
MAKEFLAGS += --no-print-directory

# Bytecode is made for the modules that are used, not for all of PyTorch: a third of the set-up's time saved.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
WARM := PYTHONDONTWRITEBYTECODE= $(BIN)/python -c

# Two tests at a time, each on one thread: faster on few cores than one test on all of them.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help install data demo peers test check lint types imports native-tests format bench docs clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(TOOLS) ## make .venv and install featherweight, PyTorch and the tools into it

# torch goes first and alone: any other order can let pip choose another build of it.
$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "featherweight needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`." \
	       "Name another one: make PYTHON=python3.12 install" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(INSTALL) -e '.[demo]' -c constraints.txt
	@$(WARM) 'import accelerate, jinja2, matplotlib.pyplot, onnx.reference, onnxscript.optimizer, onnxscript.rewriter, \
	  sklearn.datasets, torch.onnx._internal.exporter._core, torch.utils.tensorboard, typer.rich_utils'
	@touch $@

# What the extra `dev` names, without building featherweight again. The demo does without.
$(TOOLS): $(STAMP)
	@$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*project["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/dev.txt
	$(INSTALL) -r $(VENV)/dev.txt -c constraints.txt
	@$(WARM) 'import hypothesis, pytest, xdist.remote'
	@touch $@
	@echo "Installed into $(VENV) in $$(( $$(date +%s) - $(STARTED) )) s."

data: ## fetch Fashion-MNIST where it can be had, and say where it is
	@$(PYTHON) scripts/fetch_data.py

demo: $(STAMP) data ## prune a real network by 90% and show what is left of its accuracy and its bytes
	@echo "Set-up took $$(( $$(date +%s) - $(STARTED) )) s."
	$(BIN)/featherweight demo $(DEMO)

test: install data ## run the tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) $(TESTS)

check: lint types imports native-tests ## ruff, pyright, import-linter, and the C++ tests under sanitizers

lint: install
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: install
	$(BIN)/pyright

imports: install
	$(BIN)/lint-imports

native-tests: install
	$(BIN)/cmake -S . -B $(NATIVE_TESTS) -DFEATHERWEIGHT_TESTS=ON -DFEATHERWEIGHT_SANITIZE=ON
	$(BIN)/cmake --build $(NATIVE_TESTS) --parallel $(JOBS)
	$(BIN)/ctest --test-dir $(NATIVE_TESTS) --output-on-failure --no-tests=error

format: install ## rewrite the sources in the one style
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

bench: install data ## run the quick benchmarks (`python -m benchmarks --list` shows all)
	$(BIN)/python -m benchmarks $(BENCH)

# Beside .venv, not in it: tests and the library do without, and torchvision's wheel wants another torch.
peers: install ## fetch what the benchmarks compare with (timm, transformers, ...) into build/peers
	$(INSTALL) --no-deps --upgrade --target $(PEERS) -r benchmarks/peers.txt

docs: install ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Documentation: build/site/index.html"

clean: ## remove what the targets above made, .venv included
	rm -rf $(VENV) build dist demo-out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
