# make demo   environment, installation, and the whole line on a simulated cohort; prints where the report lies
# make test   environment, installation, and the default test suite
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# Two OpenMP threads that spin collapse as soon as anything else runs.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test test-slow oracle lint clean

demo: $(STAMP)
	$(BIN)/causalecg demo --out $(DEMO)

# A process per core, with a thread each; a file's tests stay together, for what they share is built once a process.
PYTEST = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test: $(STAMP)
	$(PYTEST)

test-slow: $(STAMP)
	$(PYTEST) -m slow

# The packages our estimators are compared with in tests/oracle.
oracle: $(VENV)/.oracle

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "causalecg needs Python 3.11, 3.12 or 3.13; this is %d.%d: make PYTHON=python3.11 ..." % v)'
	@echo "Installing about 2.1 GB into $(VENV); this takes one to three minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(VENV)/.oracle: $(STAMP)
	$(BIN)/python -m pip install --quiet -e '.[dev,oracle]'
	@# Its wheel asks for the whole of jupyter, which nothing here needs.
	$(BIN)/python -m pip install --quiet --no-deps PySensemakr==0.0.8
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) dist
