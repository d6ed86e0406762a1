# Two commands: `make run` plays, `make test` checks everything. Both set up what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

# Takes about a minute the first time; here at full speed, where the first start would wait for it at a low priority.
WARM_UP := from fractal_live.baselines.door import open_engine; from fractal_live.settings import find_shipped; \
	open_engine(find_shipped("checkpoints", "live"), "cpu").warm_up()

.PHONY: run test check clean

run: $(VENV)/.run
	$(BIN)/fractal-live run $(ARGS)

test: $(VENV)/.test
	$(MAKE) check

# What continuous integration runs, for those who have installed already.
check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy fractal_live
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not alone" $(ARGS)
	$(BIN)/python -m pytest -m alone $(ARGS)

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else "Python is %d.%d; fractal-live needs 3.10 to 3.12: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@echo "compiling the model's arithmetic, once: about a minute"
	$(BIN)/python -c '$(WARM_UP)'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
