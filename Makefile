# Two doors for a fresh machine: `make demo` (set up, examine, train) and `make test` (set up, test). `make` alone prints this:
#: make setup      .venv with everything in it; does nothing where that is up to date
#: make demo       setup, then manyhands doctor, then manyhands train reach-sac
#: make test       setup, then the tests
#: make check      setup, then ruff, pyright and import-linter
#: make learning   setup, then the slow tests that something learns
#: make chaos      setup, then the slow tests that kill processes and nodes for minutes
#: make bench      setup, then bench/BENCH.py (BENCH=replay: against its peers); peers get an environment of their own
#: make clean      removes .venv and caches; runs stay
#:
#: ARGS="..."      extra arguments: make demo ARGS="--seed 1"      make test ARGS="tests/replay -x"
#: PYTHON=...      the Python that .venv is made from, 3.11 or 3.12
#: TORCH=...       what setup installs as torch; .venv remembers it
#:   TORCH=pinned    (the default) the version in constraints.txt, in the build that your package index serves
#:   TORCH=keep      nothing: the torch of PYTHON is used, through --system-site-packages; 2.13 or newer
#:   TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
#:                   that build, here the one without CUDA, a far smaller download; pytorch.org names the indexes of the others

.DEFAULT_GOAL := help
.PHONY: help setup demo test check learning chaos bench clean FORCE
.ONESHELL:
.SHELLFLAGS := -ec

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHOSEN := $(VENV)/.torch
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Which torch: as an earlier setup was told. The lines above say what may stand here.
REMEMBERED := $(strip $(shell cat $(CHOSEN) 2>/dev/null))
TORCH ?= $(or $(REMEMBERED),pinned)
PINNED := $(shell sed -n '/^torch==/p' constraints.txt)
BENCH ?= replay
# Extra arguments of the program that a goal runs.
ARGS ?=
# The first of these that is Python 3.11 or 3.12. A torch to keep is most likely that of python3.
NAMES = $(if $(filter keep,$(TORCH)),python3 python3.11 python3.12,python3.11 python3.12 python3)
PYTHON ?= $(shell for name in $(NAMES); do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1 && echo $$name && break; done)
# Another choice of torch than the one that .venv was made with.
ifneq ($(strip $(TORCH)),$(REMEMBERED))
OTHER_TORCH := FORCE
endif

help:
	@sed -n 's/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

setup: $(READY)

$(READY): pyproject.toml constraints.txt $(OTHER_TORCH)
	@fail() { echo "error: $$1" >&2; exit 1; }
	python="$(PYTHON)"
	test -n "$$python" || fail "no Python 3.11 or 3.12 was found; install one, or say where: make setup PYTHON=/path/to/python3.11"
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$$python has no module venv; install it, for example: apt install python3-venv"
	keep="$(filter keep,$(TORCH))"
	torch="$(if $(filter pinned,$(TORCH)),$(PINNED),$(TORCH))"
	if test -n "$$keep"; then
		"$$python" -c 'import sys, torch; sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13))' 2>/dev/null ||
			fail "TORCH=keep, but $$python has no torch 2.13 or newer; install it there, name another PYTHON, or leave TORCH away"
	fi
	fits() {
		$(BIN)/python -m pip --version >/dev/null 2>&1 || return 1
		test -z "$(REMEMBERED)" || test "$(REMEMBERED)" = "$(strip $(TORCH))" || return 1
		test -z "$$keep" || grep -q 'system-site-packages = true' $(VENV)/pyvenv.cfg
	}
	if ! fits; then
		echo "making $(VENV) from $$python"
		"$$python" -m venv --clear $${keep:+--system-site-packages} $(VENV)
	fi
	if test -z "$$keep"; then
		echo "installing $$torch: the largest part, minutes on a slow line"
		$(PIP) $$torch
	fi
	echo "installing everything else"
	grep -v '^torch==' constraints.txt >$(VENV)/constraints.txt
	$(PIP) -c $(VENV)/constraints.txt -e '.[dev,gym]'
	echo "$(strip $(TORCH))" >$(CHOSEN)
	touch $@

demo: setup
	@$(BIN)/manyhands doctor
	$(BIN)/manyhands train reach-sac $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup
	@failed=""
	for tool in "ruff check ." "ruff format --check ." pyright lint-imports; do
		echo "$$tool"
		$(BIN)/$$tool || failed="$$failed, $$tool"
	done
	test -z "$$failed" || { echo "not clean:$${failed#,}" >&2; exit 1; }

learning: setup
	$(BIN)/python -m pytest -m learning $(ARGS)

chaos: setup
	$(BIN)/python -m pytest -m chaos $(ARGS)

bench: setup
	$(BIN)/python bench/$(BENCH).py $(ARGS)

clean:
	rm -rf $(VENV) .venv-* build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
