# Two commands matter: `make quickstart` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROBOMIMIC := $(VENV)/robomimic

.PHONY: help quickstart test test-cluster check docs bench setup system doctor clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

quickstart: setup ## Set up, check the machine, then run the quickstart comparison (minutes on two cores)
	@$(BIN)/pvrbench doctor
	@$(BIN)/pvrbench weights fetch efficientnet_lite0 || echo "The comparison goes on without efficientnet_lite0."
	$(BIN)/pvrbench run preset=quickstart

test: setup ## Set up, then run the tests (offline, no GPU)
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-cluster: setup ## Run on a real Slurm and a real Ray cluster on this machine (Debian, root; minutes)
	apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[slurm,ray]'
	$(BIN)/python -m pytest -n 0 -m cluster tests/cluster

check: setup ## Lint, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: setup ## Build the documentation site in docs/_build; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

bench: setup $(ROBOMIMIC) ## Measure engine, coordinator, runs, heads, rendering, report and robomimic; see results/performance
	@mkdir -p results/performance
	@for part in engine coordinator runs heads rendering report robomimic; do \
		echo "measuring the $$part"; \
		PYTHONPATH=$(ROBOMIMIC) $(BIN)/python tests/performance/bench_$$part.py > results/performance/$$part.json || exit 1; \
	done

# A peer to measure against, beside the project's packages: its own pins are not ours.
$(ROBOMIMIC): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ robomimic==0.3.0 tensorboardX

doctor: setup ## Render a frame in each suite and say what is missing
	$(BIN)/pvrbench doctor

setup: system $(STAMP) ## Make .venv with pinned dependencies

system:
	@PYTHON=$(PYTHON) sh .ci/system-packages

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,gymnasium]'
	@touch $(STAMP)

clean: ## Remove the virtual environment and caches of the tools
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache *.egg-info
