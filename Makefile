# `make demo` and `make test` work from a fresh clone; `make help` lists everything.

PY := .venv/bin/python
# Set once per environment, so that the second run starts at once.
FOR_USE := .venv/.ready-for-use
FOR_DEV := .venv/.ready-for-development
INPUTS := pyproject.toml constraints.txt deploy/bootstrap.sh

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(FOR_USE)  ## mend a photo through the whole service; PHOTO=path.jpg for your own
	@$(PY) -m photomend demo $(if $(PHOTO),--photo '$(PHOTO)')

up: $(FOR_USE)  ## run the whole service on this machine until Ctrl-C
	@$(PY) -m photomend up

test: $(FOR_DEV)  ## every test
	$(PY) -m pytest --durations=15 $(ARGS)

unit: $(FOR_DEV)  ## the tests that need no server
	$(PY) -m pytest tests/unit $(ARGS)

check: $(FOR_DEV)  ## lint, formatting, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

readme: $(FOR_DEV)  ## write the README's tables from the code
	@$(PY) -m tests.readme

constraints: $(FOR_DEV)  ## write constraints.txt from .venv
	@{ sed -n '/^#/p' constraints.txt; $(PY) -m pip freeze --exclude-editable | grep -v '^tb-nightly' | sed -E 's/\+[a-z0-9.]+$$//'; } > .venv/constraints.new
	@mv .venv/constraints.new constraints.txt

clean:  ## remove the environment, the demo's and the stack's files, caches
	rm -rf .venv demo .stack build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(FOR_USE): $(INPUTS)
	@deploy/bootstrap.sh api,worker,local
	@touch $@

$(FOR_DEV): $(INPUTS)
	@deploy/bootstrap.sh api,worker,local,dev
	@touch $@ $(FOR_USE)

.PHONY: help demo up test unit check readme constraints clean
