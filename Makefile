# Inkwell's tasks; `make` lists them. ARGS passes options on: make run ARGS="--set gan.epochs=12".

PYTHON ?= python3
ARGS ?=
# Given on make's command line alone; a variable of the environment may mean something else.
PROFILE =
# Number of test processes. One more than two cores, because tests often wait for servers and files;
# each process takes up to 3 GB.
WORKERS ?= 3
BIN := .venv/bin
CODE := inkwell notebooks pipeline components trainer_modules serving core benchmarks scripts tests

# tensorflow_transform would switch Keras to its legacy version.
export TF_USE_LEGACY_KERAS := 0
# Without bytecode, importing TFX takes 27 s instead of 8 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-extended mutants faults pictures notebooks docs lint format hooks lock audit sbom pin clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create .venv in this checkout (about a minute; a second call does nothing)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || { \
	  echo "Set-up needs Python 3.8 or later, but $(PYTHON) is not one; install python3, or choose one: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) scripts/setup.py

run: setup ## Run the whole pipeline (another profile: PROFILE=full; other options: ARGS="--set seed=7")
	@$(BIN)/inkwell run $(if $(PROFILE),--profile $(PROFILE) )$(ARGS)

demo: setup ## Open the playground with small trained models, without training (no browser: ARGS=--no-open)
	@$(BIN)/inkwell demo $(ARGS)

test: lint ## Check the code, then run all tests, including end-to-end runs (fast tests only: ARGS="-m 'not slow'")
	@$(BIN)/python -m pytest -n $(WORKERS) --durations=25 $(ARGS)

test-extended: setup ## Run the tests that make test leaves out: whole benchmarks, load, large networks
	@$(BIN)/python -m pytest -n $(WORKERS) --durations=25 --extended $(ARGS)

mutants: setup ## Plant small faults in a copy, one at a time: none may go unnoticed (some: ARGS="gan kid")
	@$(BIN)/python tests/mutants.py --workers $(WORKERS) $(ARGS)

faults: setup ## Do more than 200 accidents to real runs: none may be lost (three minutes: ARGS="--part quick")
	@$(BIN)/python -m benchmarks.faults $(ARGS)

pictures: setup ## Make the pictures of the documents from the last run and the demo (needs Chromium)
	@$(BIN)/python -m benchmarks.pictures $(ARGS)

notebooks: setup ## Run the notebooks; write them, with their output, as notebooks/*.ipynb and docs/notebooks
	@$(BIN)/jupytext --quiet --to ipynb notebooks/*.py
	@$(BIN)/jupyter-execute --inplace notebooks/*.ipynb
	@$(BIN)/python -m benchmarks.notebook_pages

docs: setup ## Build the site of the guides into site/
	@$(BIN)/python -m benchmarks.reference
	@$(BIN)/mkdocs build --strict --quiet

lint: setup ## Check style, common mistakes, types and declared dependencies
	@$(BIN)/ruff check $(wildcard $(CODE))
	@$(BIN)/ruff format --check $(wildcard $(CODE))
	@$(BIN)/pyrefly check --summary=none --error-stale-baseline
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry .

format: setup ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix $(wildcard $(CODE))
	@$(BIN)/ruff format $(wildcard $(CODE))

hooks: setup ## Run the checks of `make lint` before each commit
	@$(BIN)/prek install

lock: ## Resolve pyproject.toml into the three locks (newest versions: ARGS=--upgrade)
	@$(PYTHON) scripts/setup_uv.py $(ARGS)

audit: ## Look up known advisories about every package of the locks
	@$(PYTHON) scripts/audit.py

sbom: ## Write a bill of materials (CycloneDX) of each image to sbom/
	@$(PYTHON) scripts/audit.py --sbom

pin: ## Pin the manifests' images by digest (needs docker and its registry)
	@$(PYTHON) scripts/pin_images.py

clean: ## Remove .venv, .uv and caches (outputs and served models stay)
	@rm -rf .venv .uv .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
