# The project's commands; `make` alone lists them. Each sets the environment up first if that is not done yet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := qaan_helpers tests tools notebooks docs setup_env.py

# A folder without MNIST: stored outputs are those of the bundled sample, whatever the user has downloaded.
SAMPLE_ONLY := QAAN_DATA=$(CURDIR)/$(VENV)/no-mnist

# JupyterLab asks a root user, as in a container, to say that it is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u 2>/dev/null)),--allow-root)

# The notebook to begin with. Without stored widgets, pages that cannot run them show the panels' pictures in place of nothing.
PLAY := notebooks/00_play.ipynb
NO_WIDGETS := --ExecutePreprocessor.store_widget_state=False

# Tests that measure time run alone; all others run in two processes, and the longest files first.
ALONE := tests/robustness/test_interruption.py tests/browser
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder $(ALONE:%=--ignore=%)

# Any of these serves the browser's tests.
BROWSERS := chromium chromium-browser google-chrome

.DEFAULT_GOAL := help
.PHONY: help lab quick test check test-tools lint coverage mutations test-lowest audit bench notebooks badges docs clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(READY): requirements.txt pyproject.toml setup_env.py
	$(PYTHON) setup_env.py $(VENV)

lab: $(READY)  ## open the first notebook in JupyterLab, on this machine only
	$(BIN)/jupyter lab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/$(PLAY) $(AS_ROOT)

quick: $(READY)  ## run the unit tests without the slow ones
	$(SAMPLE_ONLY) $(BIN)/python -m pytest tests/unit -m "not slow and not integration" $(IN_PARALLEL)

test: $(READY)  ## run the tests, and the notebooks against their stored outputs
	$(SAMPLE_ONLY) $(BIN)/python -m pytest $(IN_PARALLEL)
	$(SAMPLE_ONLY) $(BIN)/python -m pytest $(firstword $(ALONE))

check: lint  ## run everything: all examples, whole trainings, the browser, and lint
	QAAN_FULL=1 $(SAMPLE_ONLY) $(BIN)/python -m pytest $(IN_PARALLEL)
	QAAN_FULL=1 $(SAMPLE_ONLY) $(BIN)/python -m pytest $(ALONE)

test-tools: $(READY)  ## install what some tests are skipped without: Sphinx, repo2docker, playwright and, as root on Debian, Chromium
	$(BIN)/pip install -q -e '.[tools,docs]'
	@for name in $(BROWSERS); do command -v $$name && exit; done; \
	test "$$(id -u)" = 0 && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qqy install chromium >/dev/null

lint: $(READY)  ## check style, format, types and the lists of requirements
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python tools/requirements.py --check

coverage: $(READY)  ## say which lines and branches of qaan_helpers the unit tests reach
	$(BIN)/pip install -q pytest-cov
	$(SAMPLE_ONLY) $(BIN)/python -m pytest tests --cov=qaan_helpers --cov-branch --cov-report=term-missing:skip-covered

mutations: $(READY)  ## put known bugs into a copy of the package, and confirm that a test fails for each
	$(BIN)/python tests/mutations.py

test-lowest:  ## run the unit tests with the lowest versions that requirements.txt allows, in an environment of its own
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install -q uv
	$(VENV)-lowest/bin/uv pip install -q --python $(VENV)-lowest --resolution lowest-direct -r requirements.txt -e .
	$(SAMPLE_ONLY) $(VENV)-lowest/bin/python -m pytest tests

audit: $(READY)  ## ask PyPI's advisories about every installed package
	$(BIN)/pip install -q pip-audit
	$(BIN)/pip-audit --local --skip-editable

bench: $(READY)  ## time our way beside the naive one, bare Aer and the plain loop; figures go to bench.json
	$(BIN)/python tests/benchmarks/bench.py --out bench.json

notebooks: $(READY)  ## run every notebook anew and store its outputs
	$(SAMPLE_ONLY) $(BIN)/jupyter nbconvert --to notebook --execute --inplace $(filter-out $(PLAY),$(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb))
	$(SAMPLE_ONLY) $(BIN)/jupyter nbconvert --to notebook --execute --inplace $(NO_WIDGETS) $(PLAY)
	$(BIN)/python tools/navigation.py

docs: $(READY)  ## build the site: open docs/_build/html/index.html
	$(BIN)/pip install -q -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html

badges: $(READY)  ## write badges for Binder and Colab: make badges URL=https://github.com/account/name; an empty URL removes them
	$(BIN)/python tools/navigation.py $(if $(filter undefined,$(origin URL)),,--repository '$(URL)')

clean:  ## remove caches and build leftovers; the environment and your runs stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache notebooks/.ipynb_checkpoints
	rm -rf docs/_build docs/notebooks docs/project docs/api
	rm -rf __pycache__ qaan_helpers/__pycache__ tests/__pycache__
