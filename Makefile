# Every target does its own set-up; `make demo` is all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
ARGS ?=

# Where it is set, as in many containers, each of the many processes would compile all of its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo observe test soak check bench clean
.DELETE_ON_ERROR:

setup: $(STAMP)

# torch alone and first, with bounds only: a CPU build that pip already finds is taken as it is.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch>=2.11,<2.14"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[ray,train,dashboards,dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/sentinel demo $(ARGS)

# A cluster that trains until Ctrl-C, with Debian's Prometheus and Alertmanager beside it.
observe: $(STAMP)
	$(BIN)/sentinel demo --observe $(ARGS)

# All of it in two passes: what starts a cluster has the machine to itself. With ARGS, whatever those say.
test: $(STAMP)
ifeq ($(ARGS),)
	$(BIN)/pytest -n 2 --dist loadfile -m "not cluster"
	$(BIN)/pytest -m cluster
else
	$(BIN)/pytest $(ARGS)
endif

# Tests that find more the more they try, with many more inputs than `make test` has time for.
soak: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile -m "soak and not cluster" --hypothesis-profile=deep --timeout=3600 $(ARGS)
	$(BIN)/pytest -m "soak and cluster" --hypothesis-profile=deep $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sentinel dashboards check --metrics docs/metrics.md

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
