# Everything sets itself up in .venv; a machine needs make, python3 (3.11 or newer) and gcc with g++.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_WORKERS ?= 2
# of `make campaign`: damaged files, kills and full disks, for about so many seconds
SECONDS ?= 3600
SEED ?= 0

.PHONY: demo test thorough quick lint docs notebooks bench errors campaign clean

demo: .venv/.ready
	$(BIN)/python experiments/main.py --config=configs/cradle_norman.py:demo --workdir=runs/demo

test: .venv/.ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m 'not thorough'

# every test, which is what continuous integration runs
thorough: .venv/.ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

quick: .venv/.ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m 'not parity and not slow and not thorough'

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# the site, in build/docs: a link that leads nowhere or a page that is not built is an error
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# runs the tutorials anew and keeps their outputs
notebooks: .venv/.docs
	PYTHONPATH=$(CURDIR) $(BIN)/python docs/run_tutorials.py $(NAMES)

bench: .venv/.ready
	$(BIN)/python -m benchmarks

# the whole test suite, and then the refusals of input that no test has met
errors: .venv/.ready
	rm -rf .cache/errors
	JAXPERT_ERRORS=$(CURDIR)/.cache/errors $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal
	PYTHONPATH=.:tests $(BIN)/python -m support.error_sites .cache/errors

campaign: .venv/.ready
	PYTHONPATH=.:tests $(BIN)/python -m robustness $(SECONDS) $(SEED)

.venv/.ready: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@command -v c++ >/dev/null || { echo "a C++ compiler is needed to install annoy (for scrublet): apt-get install g++" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,lint]'
	@touch $@

.venv/.docs: .venv/.ready
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf .venv runs
