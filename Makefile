# make demo    set everything up, then curate, report, train and sample, offline
# make test    set everything up, then run the tests
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test test-slow check bench install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt install.sh
	PYTHON=$(PYTHON) ./install.sh $(VENV)
	touch $@

demo: install
	$(BIN)/corpusmill demo --out demo-run

test: install
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	for one in benchmarks/*.py; do echo "== $$one"; $(BIN)/python $$one || exit 1; done

clean:
	rm -rf $(VENV) demo-run .pytest_cache .mypy_cache .ruff_cache
