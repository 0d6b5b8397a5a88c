# Two commands on a fresh machine: make demo, make test. Needs git, make and python3.11 or newer (PYTHON=python3.12 make demo).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check install docs lock soak clean

demo: $(INSTALLED)  ## sample, train, evaluate, report on this machine's CPU, with no network; finished stages are kept
	$(BIN)/seeworth demo

test: $(INSTALLED)  ## every test
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(INSTALLED)  ## style, types, layers
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## write docs/cli.md from the settings
	$(BIN)/python docs/make_cli.py

lock: $(INSTALLED)  ## write requirements.lock from the virtual environment
	(sed -n 1p requirements.lock; $(BIN)/pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+cpu/\1/') > requirements.new && mv requirements.new requirements.lock

install: $(INSTALLED)

# torch first and alone: a range that another package asks for would fetch another build of it.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "seeworth needs Python 3.11 or newer, $(PYTHON) is older: make demo PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $(INSTALLED)

clean:  ## forget the demo and the virtual environment
	rm -rf demo $(VENV)

soak: $(INSTALLED)  ## the long proofs, hours of what `make test` shows in seconds
	$(BIN)/python tests/soak/kill_import.py --kills 200
	$(BIN)/python tests/soak/kill_train.py --kills 50
	$(BIN)/python tests/soak/fuzz_photos.py 10000
	$(BIN)/python tests/soak/fuzz_serve.py 10000
