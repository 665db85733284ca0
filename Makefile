# Every target does its own set-up: only Python and make are needed.
#
#   make demo | evidence | test | test-slow | test-compile | lint | format
#   make test PYTHON=python3.12      another Python, in an environment of its own
#   make test EXTRAS=dev,torch       further extras (see pyproject.toml)

PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
comma := ,
READY := $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))
# Where mixit_jax.devices.targets looks for it.
LIBTPU := $(VENV)/compilers/libtpu/libtpu.so

.PHONY: demo evidence test test-slow test-compile tpu-compiler lint format setup clean
.DEFAULT_GOAL := test

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: $(READY)
	$(BIN)/python demo.py

# Hours; the same command goes on after any interruption.
evidence: $(READY)
	$(BIN)/python -m experiments.small_scale --out=runs/evidence/rung1

# XLA's compiler for TPUs. It needs no TPU.
tpu-compiler: $(LIBTPU)

$(LIBTPU): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --upgrade --target $(VENV)/compilers "$$($(BIN)/python -c \
	  'from mixit_jax.devices.targets import libtpu_requirement as r; print(r())')"

test: $(READY) $(LIBTPU)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-compile: $(READY) $(LIBTPU)
	$(BIN)/python -m pytest -m compile

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV)
