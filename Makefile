# `make demo` and `make test` work from a fresh clone; `make help` lists everything.

PY := .venv/bin/python
# Set once per environment, so that the second run starts at once.
FOR_USE := .venv/.ready-for-use
FOR_DEV := .venv/.ready-for-development
FOR_FUZZ := .venv/.ready-for-fuzzing
INPUTS := pyproject.toml constraints.txt deploy/bootstrap.sh

# Of `make storm`; the size that its promises are stated for takes up to 20 minutes on two cores.
SEED := 1
JOBS := 2000
FAULTS := 200
CONTROL := 1
# Of `make fuzz`: inputs.
COUNT := 50000
# Of `make contract`: random calls of each kind.
EXAMPLES := 100
# Of `make bench`: names, separated by commas; none = all.
ROWS :=

# Of `make batch-kills`: SIGKILLs to each kind of process, and files of each kind that must fail.
STRIKES := 3
BAD := 4

# Of `make batch-million`: how many items, and how often the runner is killed.
ITEMS := 1000000
KILLS := 5

# Of `make dashboard`.
SECONDS := 150

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(FOR_USE)  ## mend a photo through the whole service; PHOTO=path.jpg for your own
	@$(PY) -m photomend demo $(if $(PHOTO),--photo '$(PHOTO)')

up: $(FOR_USE)  ## run the whole service on this machine until Ctrl-C
	@$(PY) -m photomend up

# Two processes: most tests wait for servers, and two cores are what the suite is timed for. A module stays in one.
test: $(FOR_DEV)  ## every test
	$(PY) -m pytest -m "not bench" -n 2 --dist loadscope --durations=15 $(ARGS)

unit: $(FOR_DEV)  ## the tests that need no server
	$(PY) -m pytest tests/unit $(ARGS)

storm: $(FOR_DEV)  ## faults over everything, and plain Celery beside it; SEED=n JOBS=n FAULTS=n CONTROL=0|1
	@$(PY) -m tests.faults.storm --seed $(SEED) --jobs $(JOBS) --faults $(FAULTS) --control $(CONTROL)

storm-full: $(FOR_DEV)  ## ten times the storm, 1,000 SIGTERMs and 1,000 random API crashes: hours
	@$(PY) -m tests.faults.storm --seed $(SEED) --jobs 20000 --faults 2000 --drains 1000 --control $(CONTROL)
	@$(PY) -m tests.faults.crashes --who api --seed $(SEED) --crashes 1000

fuzz: $(FOR_FUZZ)  ## hostile pictures, by what they reach and through the sandbox: up to 20 minutes; COUNT=n SEED=n
	@$(PY) -m tests.fuzz --count $(COUNT) --seed $(SEED) $(ARGS)

contract: $(FOR_DEV)  ## schemathesis speaks to the running API for some minutes; EXAMPLES=n SEED=n
	@EXAMPLES=$(EXAMPLES) SEED=$(SEED) $(PY) -m pytest tests/contracts/test_api_contract.py tests/contracts/test_compatibility.py $(ARGS)

contract-accept: $(FOR_DEV)  ## publish the API's contract (api/openapi.v1.json), unless that would break callers
	@$(PY) -m tests.contracts.compatibility

load: $(FOR_DEV)  ## how fast one API process takes jobs, beside an endpoint that does nothing: build/load/latest.json
	@$(PY) -m tests.bench.load $(ARGS)

batch-million: $(FOR_DEV)  ## a batch of a million items that touch no object: Redis' memory, pace, kill and resume. ITEMS=n KILLS=n
	@$(PY) -m tests.bench.batch_million --items $(ITEMS) --kills $(KILLS) $(ARGS)

batch-kills: $(FOR_DEV)  ## a batch of every photo and of broken files while worker, API, keeper and Redis are killed. STRIKES=n BAD=n
	@$(PY) -m tests.faults.batch_kills --kills $(STRIKES) --bad $(BAD) $(ARGS)

fleet: $(FOR_DEV)  ## 1 to 1,000 GPUs in virtual time on the real store and keepers: build/fleet/latest.json; SEED=n
	@$(PY) -m tests.bench.fleet --seed $(SEED) $(ARGS)

scaling: $(FOR_DEV)  ## 1, 2, 4 and 8 worker processes beside the ideal, on real Celery, Redis and S3: six minutes, build/scaling
	@$(PY) -m tests.bench.scaling --seed $(SEED) $(ARGS)

dashboard: $(FOR_DEV)  ## the Grafana dashboard drawn from a real Prometheus over minutes of load and trouble: build/dashboard. SECONDS=n
	@$(PY) -m tests.bench.dashboard --seconds $(SECONDS) --seed $(SEED) $(ARGS)

mutants: $(FOR_DEV)  ## each guard removed in turn: a test must turn red
	@$(PY) -m tests.faults.mutants

memory: $(FOR_DEV)  ## how much memory a 100-megapixel scan needs; ARGS="--megapixels 50" for others
	@$(PY) -m tests.memory $(ARGS)

costs: $(FOR_DEV)  ## what the job store, the decode sandbox and the codecs' settings cost: time, memory, bytes
	$(PY) -m pytest -q -m bench tests/bench $(ARGS)

bench: $(FOR_DEV)  ## how fast, beside the upstream pipeline: 20 minutes; ROWS=exact,auto for some. Into build/bench
	@$(PY) -m tests.bench --rows '$(ROWS)' $(ARGS)

bench-full: $(FOR_DEV)  ## the same with more repeats: an hour
	@$(PY) -m tests.bench --full --rows '$(ROWS)' $(ARGS)

bench-readme: $(FOR_DEV)  ## write the README's figures from build/bench/latest.json
	@$(PY) -m tests.bench.readme

check: $(FOR_DEV)  ## lint, formatting, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

gallery: $(FOR_DEV)  ## pictures to look at: input, restored, mask, difference; PHOTOS="a.jpg folder/" for your own
	@$(PY) -m tests.gallery $(PHOTOS)

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

$(FOR_FUZZ): $(INPUTS)
	@deploy/bootstrap.sh api,worker,local,dev,fuzz
	@touch $@ $(FOR_DEV) $(FOR_USE)

.PHONY: help demo up test unit fuzz costs bench bench-full bench-readme memory storm storm-full contract contract-accept load batch-million batch-kills fleet scaling dashboard mutants check gallery readme \
	constraints clean
