# Three commands do all their own set-up: `make demo`, `make test` and `make bench`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
# One worker a core, but no more than eight: each imports torch.
WORKERS ?= auto --maxprocesses=8

.PHONY: help demo test browser bench gpu lint format docs prove dist matrix tritons clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   fill the weights of OLMoE-1B-7B on the best device there is; write a checkpoint of GPT-2, and prove it"
	@echo "make test   the whole test suite"
	@echo "make bench  every benchmark on this machine, in minutes; then the tables and plots"
	@echo "make gpu    everything that a GPU can tell, in 25 minutes; a second call goes on where the first ended"
	@echo "make lint   ruff, mypy, and this project's own rules"
	@echo "make docs   the pages as a site, in site/; a warning or a dead link is an error"
	@echo "make dist   what is published, built twice and compared; make matrix: installed on each Python and torch (long)"
	@echo "make tritons  the kernels, compiled with each Triton that is served (minutes)"
	@echo "make prove  enumerate all 2**32 words of each regime against the true law (long)"

# Installed once; again when what is to be installed has changed. tests/frameworks.txt says why its packages come without others.
$(READY): pyproject.toml constraints.txt tests/frameworks.txt
	@echo "installing into $(VENV), which takes a minute or two the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r tests/frameworks.txt
	@touch $@

# The installed command, not `python -m fastinit`, which would put this folder, with kernels/ in it, on the import path.
demo: $(READY)
	$(BIN)/fastinit init olmoe-1b-7b $(DEMO_ARGS)
	@echo && echo "A checkpoint of GPT-2's published config, which from_pretrained loads, proved by what it says itself, and removed:"
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT INT TERM && set -x && \
		$(BIN)/fastinit init examples/gpt2.json --out "$$folder/gpt2" && $(BIN)/fastinit verify "$$folder/gpt2"

# The workers share the cores, so one thread each: OpenMP's waiting threads would take the time of those that work.
test: $(READY) browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# The page of `fastinit report` is tested in a real one, which no Python package brings; Debian's is taken where there is none.
browser:
	@for name in $(BROWSER) chromium-headless-shell chromium chromium-browser google-chrome chrome-headless-shell; do \
		command -v $$name >/dev/null && exit 0; done; \
	apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null \
		|| echo "no browser could be installed: the tests of a page need one of the above, or BROWSER=its path"

# From this folder, as bench/ is not installed.
bench: $(READY)
	$(BIN)/python -m bench all $(BENCH_ARGS)

# Where nothing can be installed, as without a network: python3 tools/gpu_check.py, which needs torch, Triton and numpy.
gpu: $(READY)
	$(BIN)/python tools/gpu_check.py $(GPU_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/lint.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.docs: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

# Not --quiet, which drops the warnings before --strict counts them.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

prove: $(READY)
	$(BIN)/python tools/prove.py

# build, twine and uv are for who publishes: in an environment of their own.
PUBLISH := $(VENV)/publish
$(PUBLISH)/.installed: constraints.txt
	@$(PYTHON) -m venv $(PUBLISH)
	@$(PUBLISH)/bin/python -m pip install -qq --disable-pip-version-check build twine uv
	@touch $@

dist: $(PUBLISH)/.installed
	$(PUBLISH)/bin/python tools/dist.py

matrix: $(PUBLISH)/.installed dist
	PATH="$(CURDIR)/$(PUBLISH)/bin:$$PATH" $(PUBLISH)/bin/python tools/matrix.py $(MATRIX_ARGS)

# The kernels, compiled with each Triton that is served.
tritons: $(PUBLISH)/.installed dist
	PATH="$(CURDIR)/$(PUBLISH)/bin:$$PATH" $(PUBLISH)/bin/python tools/tritons.py $(TRITONS_ARGS)

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
