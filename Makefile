# Every target sets up its own virtual environment on first use; `make test VENV=` uses the
# current interpreter and installs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BASE_PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
EXTRAS ?= test,lint,bench
PYTEST_ARGS ?=
# Tests that run at a time; each may compile, or start a process of its own.
WORKERS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores : 4)))
BENCH_ARGS ?=
BENCH_OUT ?= outputs/benchmarks

# Warnings stop the build where it is checked, not where it is used.
export SCRN_OPS_WERROR ?= $(if $(CI),1,0)

# In the whole tree, but for what was built, installed or downloaded.
NO_SOURCES := .[a-z]* build dist outputs data venv
CPP_FILES := find . -regextype posix-extended \
  $(foreach name,$(NO_SOURCES),-path './$(name)' -prune -o) \
  -type f -regex '.*\.(c|cc|cpp|cu|cuh|h|hpp)' -print0

# Of every kind of test the files that notice most for their time.
CHECK_TESTS := \
  tests/ops/common/test_meta.py \
  $(addprefix tests/ops/srm/test_,accuracy.py errors.py gradcheck.py registration.py) \
  $(addprefix tests/ops/attention/,test_by_products.py dry_driver/test_driver.py dry_driver/test_launches.py) \
  tests/cuda_on_cpu/srm/test_aggregate.py tests/models/test_network.py tests/packaging/test_imports.py

.PHONY: help build test check lint format bench bench-full kernel-report planted-bugs compat wheel clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

ifeq ($(strip $(VENV)),)
BIN :=
PYTHON := $(shell command -v python || command -v python3)
INSTALLED :=
else
BIN := $(VENV)/bin/
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check

$(VENV)/.torch:
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	  "scrn needs Python 3.10 or newer; name one with BASE_PYTHON=")'
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	$(PIP) install "setuptools>=77" ninja $(TORCH)
	touch $@

$(VENV)/.installed: pyproject.toml setup.py $(VENV)/.torch
	$(PYTHON) setup.py --quiet build_ext --inplace
	$(PIP) install --no-build-isolation --editable '.[$(EXTRAS)]'
	touch $@
endif

build: $(INSTALLED) ## Compiles what changed, into the package
	$(PYTHON) setup.py --quiet build_ext --inplace

test: build ## Runs the tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} GOMP_SPINCOUNT=$${GOMP_SPINCOUNT:-10000} \
	  $(PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: lint build ## Checks style, and runs the tests that matter most, in minutes
	$(PYTHON) -m pytest -q $(CHECK_TESTS) $(PYTEST_ARGS)

lint: $(INSTALLED) ## Checks style and types
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(CPP_FILES) | xargs -0 $(BIN)clang-format --dry-run -Werror
	$(BIN)mypy
	find .ci tools tests benchmarks -name '*.sh' -print0 | xargs -0 $(BIN)shellcheck .ci/run

format: $(INSTALLED) ## Rewrites the sources in the project's style
	$(BIN)ruff check --fix .
	$(BIN)ruff format .
	$(CPP_FILES) | xargs -0 $(BIN)clang-format -i

# What could not be judged, which the screen says, does not keep the rest from running.
UNLESS_DISTURBED := test $$? -eq 2

bench: build ## Measures on this machine, in minutes, and draws the demonstration
	$(PYTHON) -m benchmarks --quick --out $(BENCH_OUT) $(BENCH_ARGS) || $(UNLESS_DISTURBED)
	$(PYTHON) -m examples.demo --out $(BENCH_OUT)/demo.png
	$(PYTHON) -m benchmarks.network --quick --json $(BENCH_OUT)/network.json
	$(PYTHON) -m benchmarks.summary --out $(BENCH_OUT) || $(UNLESS_DISTURBED)

bench-full: build ## Measures every case
	$(PYTHON) -m benchmarks --out $(BENCH_OUT) $(BENCH_ARGS) || $(UNLESS_DISTURBED)
	$(PYTHON) -m benchmarks.network --json $(BENCH_OUT)/network.json
	$(PYTHON) -m benchmarks.summary --out $(BENCH_OUT) || $(UNLESS_DISTURBED)

kernel-report: build ## Registers, memory and occupancy of every CUDA kernel
	$(PYTHON) -m benchmarks.kernel_report

planted-bugs: $(INSTALLED) ## Tests the tests: small mistakes in the kernels must be noticed
	$(PYTHON) -m tests.planted_bugs --report

wheel: $(INSTALLED) ## Builds a wheel into dist/
	rm -rf build/lib build/bdist.* dist/scrn-*.whl
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --wheel-dir dist .

compat: wheel ## Tests one wheel's operators on the oldest and the newest torch
	$(PYTHON) tools/compat.py dist/scrn-*.whl $(PYTEST_ARGS)

clean: ## Removes what was built, but not the virtual environment
	rm -rf build dist *.egg-info scrn_ops/*.so scrn_ops/_build_info.json
