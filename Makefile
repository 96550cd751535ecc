# The two commands: `make demo` and `make test`. Each sets up .venv by itself.
# `make test` tries the same examples on every machine; `make test-explore` looks for new ones. CONTRIBUTING.md describes all.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# How many test processes run at once; each needs 2 GB.
JOBS   ?= 2
PYTEST := PYTHONHASHSEED=0 $(BIN)/python -m pytest
# A crashed test process ends the run: pytest-xdist would go on with another one, and may wait for ever at the end.
SPREAD := --numprocesses $(JOBS) --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
# How many further tries a failed test gets; the summary names each that needed one.
RERUNS ?= 0
# pytest-timeout ends a test after 300 s; this ends a process which that cannot interrupt, and prints its stacks.
WATCH  := -o faulthandler_timeout=360 -o faulthandler_exit_on_timeout=true

.PHONY: demo test test-fast test-slow test-exhaustive test-explore coverage check check-web starter bench-generate bench-serve bench-compare bench-overhead bench-idle bench-studio screenshots docs bench-moderate bench-photos bench-connections bench-flood test-gpu fuzz-images fuzz-requests schemathesis clean

demo: $(READY)
	$(BIN)/safelight demo

test: $(READY) check
	$(PYTEST) $(SPREAD) $(WATCH) --reruns $(RERUNS) -m "not slow and not exhaustive"

# The logic alone, without processes, networks and browsers: for every change.
test-fast: $(READY)
	$(PYTEST) $(SPREAD) -m fast

# What takes minutes.
test-slow: $(READY)
	$(PYTEST) $(SPREAD) -m slow

# On a machine with an accelerator: at most ten minutes, and a report in Markdown. For another limit: GPU="--minutes 5".
test-gpu: $(READY)
	$(BIN)/python -m bench.gpu $(GPU)

# What takes half an hour.
test-exhaustive: $(READY)
	$(PYTEST) -s -m exhaustive

# The tests of `make test` with every line and branch counted.
coverage: $(READY)
	rm -rf .coverage
	PYTHONHASHSEED=0 $(BIN)/coverage run -m pytest $(SPREAD) -m "not slow and not exhaustive"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Property tests alone, each with twenty times as many examples as in `make test`, new ones on every run. For a part of
# them: make test-explore WHERE=tests/moderation
WHERE ?= tests
test-explore: $(READY)
	$(BIN)/python -m pytest --hypothesis-profile=explore -m "hypothesis and not slow and not exhaustive" --timeout 3600 $(WHERE)

check: $(READY)
	$(BIN)/ruff check src tests bench scripts examples training
	$(BIN)/ruff format --check src tests bench scripts training
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The studio's JavaScript, checked by TypeScript; needs npm.
check-web:
	npm install --silent --no-package-lock --prefix $(VENV)/web typescript@7.0.2
	$(VENV)/web/node_modules/.bin/tsc --project src/safelight/ui/tsconfig.json

# The starter model, from the packages to src/safelight/models/starter: some hours; goes on where it was stopped.
starter: $(READY)
	cd training && ../$(BIN)/python pictures.py
	cd training && ../$(BIN)/python autoencoder.py both --steps 2000
	cd training && ../$(BIN)/python denoiser.py
	cd training && ../$(BIN)/python autoencoder.py decoder
	cd training && ../$(BIN)/python judge.py
	cd training && ../$(BIN)/python ship.py
	cd training && ../$(BIN)/python upscaler.py
	cd training && ../$(BIN)/python evaluate.py --sheet ../docs/images/starter.png

bench-generate: $(READY)
	$(BIN)/safelight bench generate

bench-serve: $(READY)
	$(BIN)/safelight bench serve --soak 900

# What the way over HTTP and the queue adds to a picture; and memory and processor time of an idle server (Linux).
bench-overhead: $(READY)
	$(BIN)/python bench/http_overhead.py

bench-idle: $(READY)
	$(BIN)/python bench/idle.py

# What one address with thousands of connections costs another; Linux only.
bench-connections: $(READY)
	$(BIN)/python bench/connections.py

# 5,000 spoilt requests over the three families; another seed gives others: make fuzz-requests SEED=2.
SEED ?= 1
fuzz-requests: $(READY)
	$(BIN)/python -m tests.server.fuzz_requests --seed $(SEED)

# 50 valid and 50 invalid requests of each operation of the OpenAPI document, with and without keys: half an hour.
schemathesis: $(READY)
	$(BIN)/python -m pytest -s -m exhaustive tests/server/test_schema.py

# Damaged files of every format; FUZZ="--seed N" gives an earlier run's files again.
fuzz-images: $(READY)
	$(BIN)/python -m bench.fuzz_images $(FUZZ)

# One owner floods every endpoint, another asks for little; some two minutes.
bench-flood: $(READY)
	$(BIN)/python bench/flood.py --studio

# This checkout beside an earlier one, in turn, in one run: make bench-compare BEFORE=../before
bench-compare: $(READY)
	$(BIN)/python bench/compare.py --before $(BEFORE) --rounds 3

# Both need Chromium.
bench-studio: $(READY)
	$(BIN)/python bench/studio.py

screenshots: $(READY)
	$(BIN)/python scripts/screenshots.py

docs: $(READY)
	$(BIN)/python scripts/render_docs.py
	$(BIN)/mkdocs build --strict

# Real photographs for the benchmarks, from two Debian packages (Debian and its kin only).
bench-photos: $(READY)
	$(BIN)/python bench/photos.py

bench-moderate: bench-photos
	$(BIN)/python bench/moderate.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $(READY)

clean:
	rm -rf $(VENV) .coverage site safelight-demo
