# make demo   sets up and runs the main job on real input
# make test   sets up and runs every test; .ci/run calls it with nothing optional
# make check  the quick one for every edit, once `make test` or `make setup` has run
# make bench  speed beside kmod's own tools (QUICK=1: under two minutes; COMPARE=FILE: beside an earlier run's JSON)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_KERNELS := bookworm-amd64 trixie-amd64 trixie-s390x trixie-armhf trixie-kmod
TEST_FIRMWARE := amd-graphics iwlwifi realtek misc-nonfree atheros brcm80211
GUEST_KERNELS := bookworm-amd64 trixie-amd64
PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: demo test setup check lint types layers unit real guest format bench material proto clean

demo: $(VENV)/.run
	@sh tools/system-packages demo
	$(BIN)/python -m tools.demo

# In two runs: guests and whole kernels at the same time would only slow each other down.
test: setup material lint types layers
	KMODKIT_MUTATIONS=12000 $(PYTEST) --ignore=tests/ktest --ignore=tests/guest
	$(PYTEST) tests/ktest tests/guest $$(command -v qemu-system-x86_64 >/dev/null && printf -- '--ktest=%s ' $(GUEST_KERNELS))

check: lint types layers unit

setup: $(VENV)/.dev
	@sh tools/system-packages test

# Without the network the tests that need a kernel are skipped, or fail where KMODKIT_REQUIRE says so.
material: $(VENV)/.dev
	@echo "fetching real kernels into the cache, unless they are there"
	@for key in $(TEST_KERNELS); do $(BIN)/python -m tools.material fetch $$key || true; done
	@for name in $(TEST_FIRMWARE); do \
	  $(BIN)/python -m tools.material package bookworm amd64 firmware-$$name >/dev/null || true; done

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

unit: $(VENV)/.dev
	$(PYTEST) -q --ignore=tests/real --ignore=tests/ktest --ignore=tests/guest --ignore=tests/test_soak.py

real: $(VENV)/.dev
	$(PYTEST) tests/real

# What must pass in a real kernel; KERNEL=sid-amd64 or a path takes another one.
guest: $(VENV)/.dev
	$(PYTEST) tests/guest $(addprefix --ktest=,$(or $(KERNEL),$(GUEST_KERNELS)))

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	@sh tools/system-packages test
	$(BIN)/python -m bench $(if $(QUICK),--quick) --json $(or $(JSON),bench/build/results.json) \
	  $(if $(COMPARE),--compare $(COMPARE))

# protoc of a fixed version, in an environment of its own: generated code asks for a runtime at least as new.
proto:
	$(PYTHON) -m venv build/protoc
	build/protoc/bin/pip install -q grpcio-tools==1.68.1 'setuptools<80'
	cd src && ../build/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
	  kmodkit/meta/meta.proto kmodkit/fsspec/fsspec.proto

$(VENV)/.run: pyproject.toml
	@sh tools/system-packages python
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kmodkit needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "adding what the tests need to $(VENV)"
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q --group dev
	@touch $@

clean:
	rm -rf $(VENV) build bench/build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
