# Every target makes what it needs: on a fresh machine Python 3.11 and Rust are enough.
#
#   VENV=/some/venv   use that environment; the torch and numpy that it has stay as they are
#   PYTHON=python3.x  the interpreter that a new environment is made with

VENV ?= .venv
PYTHON ?= $(shell for p in python python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ifeq ($(OS),Windows_NT)
  SYSTEM := Windows
  BIN := $(VENV)/Scripts
  PY := $(BIN)/python.exe
else
  SYSTEM := $(shell uname -s)
  BIN := $(VENV)/bin
  PY := $(BIN)/python
endif
# maturin takes the environment from the first, and zig and its Python from the path.
IN_VENV := env -u CONDA_PREFIX VIRTUAL_ENV="$(abspath $(VENV))" PATH="$$(cd $(BIN) && pwd):$$PATH"

# Stamps lie in the environment: they go when it goes, and each environment has its own.
STAMPS := $(VENV)/ironstep-stamps
RUST := Cargo.toml $(wildcard Cargo.lock) $(shell find rust -name '*.rs' -o -name Cargo.toml)
EXTENSION := $(wildcard python/ironstep/_native*.so python/ironstep/_native*.pyd)

# One set-up at a time, also when two makes run side by side: the second waits and then finds all done.
# (macOS and Windows have no flock; there, don't set up the same environment twice at once.)
LOCKED := mkdir -p target && $(if $(shell command -v flock),flock target/set-up.lock) \
	$(MAKE) --no-print-directory

##@ Use
.PHONY: help
help: ## print this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: build ## a training with its report, torch and ironstep compared; writes ./ironstep-demo/
	$(PY) -m ironstep demo $(ARGS)

.PHONY: build
build: ## the environment with the release extension in it, ready for use
	@$(LOCKED) $(STAMPS)/build

##@ Check
.PHONY: test
test: test-rust test-python ## cargo tests and pytest

.PHONY: test-rust
test-rust:
	cargo test --package ironstep-kernels

.PHONY: test-python
test-python: build
	$(PY) -m pytest --doctest-modules python/ironstep tests --ignore=tests/integrations $(ARGS)

.PHONY: test-sklearn
test-sklearn: build ## scikit-learn's own tests of its metrics, with ours in their place
	PYTHONPATH=tests $(PY) -m pytest -c /dev/null -p metrics.sklearn_suite -p no:cacheprovider \
		-p no:randomly --disable-warnings -q $(ARGS)

.PHONY: test-r
test-r: build ## metrics and report beside R's pROC, which it installs (Debian, as root), and dcurves
	apt-get install --yes --no-install-recommends r-base-core r-cran-proc
	@$(LOCKED) $(STAMPS)/dcurves
	IRONSTEP_DCURVES_PYTHON="$(abspath $(STAMPS))/dcurves-venv/bin/python" \
		$(PY) -m pytest tests/metrics/test_proc.py tests/evaluate/test_peers.py $(ARGS)

.PHONY: test-browser
test-browser: build ## the report's page and the site in Chromium, which it installs (Debian, as root)
	apt-get install --yes --no-install-recommends chromium fonts-dejavu-core
	@$(LOCKED) $(STAMPS)/browser
	$(PY) -m pytest tests/evaluate/test_browser.py tests/test_docs.py $(ARGS)

.PHONY: coverage-study
coverage-study: build ## how often the intervals hold the truth; writes docs/coverage.md; some minutes
	$(PY) benches/coverage_study.py $(ARGS)

.PHONY: test-integrations
test-integrations: ## ours inside Lightning, Transformers, accelerate and timm
	@$(LOCKED) $(STAMPS)/integrations
	$(PY) -m pytest tests/integrations $(ARGS)

.PHONY: test-oldest
test-oldest: ## pytest with the oldest numpy and torch that pyproject.toml admits, in .venv-oldest
	@$(LOCKED) VENV=.venv-oldest PYTHON=python3.11 .venv-oldest/ironstep-stamps/oldest
	$(MAKE) VENV=.venv-oldest test-python

.PHONY: test-wheel
test-wheel: build wheel ## the wheels in dist/: contents, import without torch, import time; wants a quiet machine
	IRONSTEP_DIST=dist $(PY) -m pytest tests/packaging -m "packaging or timing" $(ARGS)

.PHONY: lint
lint: build ## rustfmt, clippy, ruff, mypy, stubtest, zizmor, check-jsonschema
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m mypy.stubtest ironstep._native
	$(BIN)/zizmor --offline --no-progress .github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

.PHONY: format
format: build ## rewrite the sources as lint wants them
	cargo fmt --all
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

.PHONY: bench
bench: build ## measure against torch and scikit-learn; wants a quiet machine
	$(PY) -m ironstep bench optim $(ARGS)
	$(PY) -m ironstep bench metrics $(ARGS)

.PHONY: docs
docs: ## the documentation's site, built and checked without a network; prints where it is
	@$(LOCKED) $(STAMPS)/docs
	$(PY) docs/site/build.py

##@ Ship
# Linux wheels are linked by zig against an old glibc, or musl, whatever this machine has.
WHEELS_Linux := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
WHEELS_Darwin := aarch64-apple-darwin x86_64-apple-darwin
WHEELS_Windows := x86_64-pc-windows-msvc
WHEELS ?= $(WHEELS_$(SYSTEM))

.PHONY: wheel
wheel: $(WHEELS:%=wheel-%) ## wheels for this system into dist/; WHEELS=target-triple for one

wheel-%:
	@$(LOCKED) $(STAMPS)/zig
	@if [ ! -d "$$(rustc --print target-libdir --target $*)" ] && ! rustup target add $*; then \
		echo "SKIPPED: no $* wheel, for this Rust has no standard library for $*" \
			"and rustup could not add it." >&2; exit 0; fi; \
	$(IN_VENV) maturin build --release --locked --target $* --out dist \
		$(if $(findstring linux-gnu,$*),--zig --compatibility manylinux2014) \
		$(if $(findstring linux-musl,$*),--zig --compatibility musllinux_1_2)

.PHONY: sdist
sdist: ## the source distribution into dist/
	@$(LOCKED) $(STAMPS)/zig
	$(IN_VENV) maturin sdist --out dist

# --- set-up: the files below are asked for through LOCKED only ---

$(STAMPS)/python:
	@cargo --version >/dev/null || { echo "Rust is needed: install rustup and the stable toolchain." >&2; exit 1; }
	@[ -e $(PY) ] || [ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed." >&2; exit 1; }
	[ -e $(PY) ] || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet "maturin>=1.9.4,<2" "pip>=25.1" # this pip knows dependency groups
	mkdir -p $(STAMPS)
	touch $@

# numpy and torch that are there already are not replaced; what wants others fails and says so.
KEEP := kept="$(abspath $(STAMPS))/keep.txt"; \
	{ $(PY) -m pip list --format=freeze | grep -iE '^(numpy|torch)=='; } > "$$kept" || true; \
	PIP_CONSTRAINT="$$kept"

$(STAMPS)/packages: $(STAMPS)/python pyproject.toml
	$(KEEP) $(IN_VENV) maturin develop --release --extras torch,demo,bench,evaluate,train --group test,lint,docs
	touch $@

# The extension is shared by all environments of a checkout (abi3); when it is gone, it is built again.
$(STAMPS)/build: $(STAMPS)/packages $(RUST) $(if $(EXTENSION),,missing-extension)
	PIP_QUIET=1 $(IN_VENV) maturin develop --release
	touch $@

.PHONY: missing-extension
missing-extension:

$(STAMPS)/integrations: $(STAMPS)/build pyproject.toml
	$(KEEP) $(IN_VENV) maturin develop --release --group integrations
	touch $@

$(STAMPS)/browser: $(STAMPS)/build pyproject.toml
	$(PY) -m pip install --quiet --group browser
	touch $@

# In an environment of its own: it wants other versions of pandas.
$(STAMPS)/dcurves: $(STAMPS)/python
	$(PY) -m venv $(STAMPS)/dcurves-venv
	$(STAMPS)/dcurves-venv/bin/python -m pip install --quiet "dcurves>=1.1.7"
	touch $@

# Without the extension: the reference is read from the sources.
$(STAMPS)/docs: $(STAMPS)/python pyproject.toml
	$(PY) -m pip install --quiet --group docs
	touch $@

$(STAMPS)/zig: $(STAMPS)/python
	$(PY) -m pip install --quiet ziglang
	touch $@

# The lower bounds themselves, read from where they are declared.
OLDEST = import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*(r.replace(">=", "==") for r in p["dependencies"] + p["optional-dependencies"]["torch"]))
$(STAMPS)/oldest: $(STAMPS)/python pyproject.toml
	$(PY) -m pip install --quiet --only-binary :all: $$($(PY) -c '$(OLDEST)') "ml_dtypes<0.6" "pyarrow<17" # later ones want a newer numpy
	touch $@
