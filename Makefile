# Everything sets itself up in .venv; a machine needs make, python3 (3.11 or newer) and gcc with g++.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_WORKERS ?= 2

.PHONY: demo test quick lint bench clean

demo: .venv/.ready
	$(BIN)/python experiments/main.py --config=configs/cradle_norman.py:demo --workdir=runs/demo

test: .venv/.ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

quick: .venv/.ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m 'not parity and not slow'

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/.ready
	$(BIN)/python -m benchmarks

.venv/.ready: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@command -v c++ >/dev/null || { echo "a C++ compiler is needed to install annoy (for scrublet): apt-get install g++" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,lint]'
	@touch $@

clean:
	rm -rf .venv runs
