# Every target sets up what it needs; on Debian with Python 3.11 no other command is needed.

BIN := .venv/bin
READY := .venv/.ready
ARGS ?=
# One half of the tests each, so that tests of one file share its services; then from the other half.
PYTEST := $(BIN)/pytest -n auto --dist worksteal
FAST := tests/spec tests/plan tests/apply tests/observe tests/render tests/project

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast coverage check lint docs package install lock format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## run the tutorial, specs/topn.yaml, on this machine
	@$(BIN)/batchspec apply specs/topn.yaml $(ARGS)

test: $(READY) ## run the tests in parallel (ARGS="tests/spec -k colon" runs some)
	@$(PYTEST) $(ARGS)

test-fast: $(READY) ## run the tests that need no service, in less than a minute
	@$(PYTEST) $(FAST) $(ARGS)

coverage: $(READY) ## measure the branch coverage of the tests without services; fail below the limit
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n auto --dist worksteal $(FAST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: lint ## run lint and all tests
	@$(MAKE) --no-print-directory test

lint: docs ## check format, lint, types, layers and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY) ## build the documentation site; a warning is an error
	@$(BIN)/sphinx-build --jobs auto --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

package: $(READY) ## build the wheel and the sdist into dist and check them (ARGS="--install pip": install it)
	@rm -rf dist
	@$(BIN)/hatchling build -d dist
	@$(BIN)/python tools/check_package.py dist $(ARGS)

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## compare with other tools; writes benchmarks/RESULTS.md (ARGS="upload submit": these rows)
	@$(BIN)/python benchmarks/run.py $(ARGS)

install: $(READY) ## set up .venv with batchspec and its dependencies
	@echo "batchspec is installed: $(BIN)/batchspec --help"

lock: $(READY) ## update requirements.lock from pyproject.toml (ARGS=--upgrade: newest versions)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --quiet \
		--extra local --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --output-file requirements.lock $(ARGS)

clean: ## remove .venv and the caches; results and the embedded service's data stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh
	@touch $@
