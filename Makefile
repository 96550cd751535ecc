# The two commands: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test test-slow check check-web starter bench-generate bench-serve bench-studio screenshots docs bench-moderate bench-photos bench-flood clean

demo: $(READY)
	$(BIN)/safelight demo

test: $(READY) check
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

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

# One owner floods every road, another asks for little; some two minutes.
bench-flood: $(READY)
	$(BIN)/python bench/flood.py --studio

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
	rm -rf $(VENV) site safelight-demo
