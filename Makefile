# `make run` and `make test` do all set-up themselves on a machine with Python 3.11 to 3.13.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := .make
# A machine whose NVIDIA driver answers takes the list with faiss-gpu in faiss-cpu's place.
REQUIREMENTS := $(shell nvidia-smi >/dev/null 2>&1 && echo requirements-gpu.txt || echo requirements.txt)
IMAGES ?=
ARGS   ?=

.PHONY: run test test-fast lint types contracts check chromium bench bench-retrain bench-load bench-abuse faults lock sbom clean

# Everything a newcomer needs: environment, database, web and worker. LOCKED=1 takes exactly what was released.
run: $(STAMPS)/run
	exec $(BIN)/annotator run $(if $(IMAGES),--images "$(IMAGES)") $(ARGS)

# Installs what tests need, Chromium included, and runs all of them.
test: $(STAMPS)/dev chromium
	$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(ARGS),$(ARGS),-m "not alone")
	$(if $(ARGS),,$(BIN)/python -m pytest -m alone)

# The same without the browser.
test-fast: $(STAMPS)/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser and not alone" $(ARGS)

lint: $(STAMPS)/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMPS)/dev
	$(BIN)/mypy

contracts: $(STAMPS)/dev
	$(BIN)/lint-imports

check: lint types contracts test

# The first-day benchmark; its last line is RESULT {json}.
bench: $(STAMPS)/run
	$(BIN)/python benchmarks/first_day.py $(ARGS)

# The interactive retrain, cold and warm: make bench-retrain ARGS="--data DIR", or ARGS=--quick.
bench-retrain: $(STAMPS)/dev
	$(BIN)/python benchmarks/retrain.py $(ARGS)

# People at work while everything else runs: make bench-load, or ARGS=--quick.
bench-load: $(STAMPS)/dev
	$(BIN)/python benchmarks/load.py $(ARGS)

# What an annotator feels while somebody attacks the server.
bench-abuse: $(STAMPS)/dev
	$(BIN)/python benchmarks/abuse.py $(ARGS)

# Every claim at its full size (about an hour), then docs/reliability.md from what was seen. Root can cut power.
# ARGS names tests, which then run one after the other; the page keeps its other lines.
faults: export FAULTS := full
faults: export FAULTS_RESULTS := $(STAMPS)/faults.jsonl
faults: $(STAMPS)/dev chromium
	@rm -f $(FAULTS_RESULTS)
	status=0; \
	$(if $(ARGS),$(BIN)/python -m pytest -m claims $(ARGS) || status=$$?; , \
	  $(BIN)/python -m pytest -n 2 --dist worksteal -m "claims and not alone" || status=$$?; \
	  $(BIN)/python -m pytest -m "claims and alone" || status=$$?; ) \
	$(BIN)/python -m tests.faults.report $(FAULTS_RESULTS) $(if $(ARGS),--part) && exit $$status

# Versions and digests of all that is installed at run time, and the bill of materials made from them.
lock: $(STAMPS)/dev
	$(BIN)/python tools/supply_chain.py lock

sbom: $(STAMPS)/dev
	$(BIN)/python tools/supply_chain.py sbom

# Debian's Chromium where none is there and we may install it; tests skip loudly otherwise.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	else echo "No Chromium here and no right to install it: the browser tests will be SKIPPED."; fi
	@command -v strace >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends strace; \
	else echo "No strace here and no right to install it: the tests of crash points will be SKIPPED."; fi

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed; call make with PYTHON=python3.12, for example."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv $(REQUIREMENTS) pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check -q $(if $(LOCKED),--require-hashes -r requirements.lock,-r $(REQUIREMENTS))
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -e .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) $(STAMPS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
