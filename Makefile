# The newcomer's doors. `make demo`, then `make test`; nothing else is needed.
# Written for GNU make 3.81 (macOS) and later, and any POSIX shell.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DIASCOPE := $(BIN)/diascope
DEMO := runs/demo
PHOTOS := ../shared/photos/manifest.csv

# The first Python that is 3.11 or later and can make environments; name another as PYTHON=...
PYTHONS := python3.13 python3.12 python3.11 python3 python

.PHONY: help demo test check fix clean sample models models-rendered models-photos seeds venv

help:
	@echo 'make demo     train a small model, judge it, and read its verdict on the sample pictures'
	@echo 'make test     all tests'
	@echo 'make check    lint, formatting and types; changes nothing'
	@echo 'make fix      mend what lint and formatting can mend'
	@echo 'make sample   draw data/sample again'
	@echo 'make models   train both shipped models again, with their figures: about forty minutes'
	@echo 'make seeds    the recipe with two more seeds, for the lab book: after make models'
	@echo 'make clean    remove caches, builds and the demo run; $(VENV) and other runs stay'

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@set -e; \
	fits='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'; \
	python=''; \
	for name in $(BIN)/python $(PYTHON) $(PYTHONS); do \
	  if $$name -c "$$fits" >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'diascope needs Python 3.11 or later with venv, and none was found.' >&2; \
	  echo 'Install one (python.org, brew install python, apt install python3-venv)' >&2; \
	  echo 'or name it: make demo PYTHON=/path/to/python3' >&2; \
	  exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$($$python --version): minutes, up to 7 GB on Linux ..."; \
	if [ "$$python" != $(BIN)/python ]; then $$python -m venv --clear $(VENV); fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

demo: $(INSTALLED)
	@printf '\n%s\n' '1/4 Draw marks and train configs/demo.toml on them: about three minutes on two cores.'
	@$(DIASCOPE) train --config configs/demo.toml --out $(DEMO) --overwrite
	@printf '\n%s\n' '2/4 Draw 300 pictures the model has not seen: seconds.'
	@$(DIASCOPE) render --count 300 --seed 20260 --no-truth --out $(DEMO)/unseen --overwrite
	@printf '\n%s\n' '3/4 Measure the model on them: seconds.'
	@$(DIASCOPE) evaluate --model $(DEMO)/bundle --data $(DEMO)/unseen/manifest.csv \
	  --out $(DEMO)/evaluation --no-sturdiness --overwrite
	@printf '\n%s\n' '4/4 Judge the pictures of data/sample with the model just trained: seconds.'
	@$(DIASCOPE) predict --table data/sample/manifest.csv --model $(DEMO)/bundle

sample: $(INSTALLED)
	@$(DIASCOPE) render --count 24 --size 192 --seed 2026 --contrast 12 30 --no-truth --out data/sample \
	  --mark-type erythematous --mark-type hyperpigmented --mark-type neither --overwrite

# Trains both shipped models and measures them; what ends in a model card is measured here.
models: models-rendered models-photos
	@$(BIN)/python tests/golden/remake.py

models-rendered: $(INSTALLED)
	@printf '\n%s\n' 'rendered 1/2: train on drawn marks, about ten minutes on two cores.'
	@$(DIASCOPE) train --config configs/rendered.toml --out runs/rendered --overwrite
	@printf '\n%s\n' 'rendered 2/2: measure on photographs, none of which it saw, and on drawn tones: five minutes.'
	@$(DIASCOPE) evaluate --model runs/rendered/bundle --data $(PHOTOS) \
	  --groups data/groups/shared_photos.csv --sweep configs/sweep.toml \
	  --out runs/rendered/evaluation --card --overwrite
	@rm -rf models/rendered && cp -R runs/rendered/bundle models/rendered
	@$(DIASCOPE) model verify models/rendered

models-photos: $(INSTALLED)
	@printf '\n%s\n' 'photos 1/4: train on photographs and drawn marks, about three minutes on two cores.'
	@$(DIASCOPE) train --config configs/photos.toml --data $(PHOTOS) --out runs/photos --overwrite
	@printf '\n%s\n' 'photos 2/4: cross-validate by groups, five times the training.'
	@$(DIASCOPE) cross-validate --config configs/photos.toml --data $(PHOTOS) --by group --folds 5 \
	  --out runs/photos-by-group --card runs/photos/bundle --overwrite
	@printf '\n%s\n' 'photos 3/4: leave whole sources out, four times the training.'
	@$(DIASCOPE) cross-validate --config configs/photos.toml --data $(PHOTOS) --by source \
	  --fold dermnet --fold sd198+melasma-web --fold rosacea-web+cafe-au-lait-web+spots-web \
	  --fold normal-face --out runs/photos-by-source --card runs/photos/bundle --overwrite
	@printf '\n%s\n' 'photos 4/4: measure on drawn tones, and on drawn marks in other light and file: five minutes.'
	@$(DIASCOPE) evaluate --model runs/photos/bundle --sweep configs/sweep.toml \
	  --out runs/photos/tones --card --overwrite
	@$(DIASCOPE) render --count 240 --seed 20402 --no-truth --out runs/drawn --overwrite \
	  --mark-type erythematous --mark-type hyperpigmented
	@$(DIASCOPE) evaluate --model runs/photos/bundle --data runs/drawn/manifest.csv \
	  --out runs/photos/drawn --card --overwrite
	@rm -rf models/photos && cp -R runs/photos/bundle models/photos
	@$(DIASCOPE) model verify models/photos

# The recipe with two more seeds, both stages: the lab book's last table. Forty minutes on two cores.
seeds: $(INSTALLED)
	@for seed in 1 2; do \
	  $(DIASCOPE) train --config configs/rendered.toml --set seed=$$seed \
	    --out runs/seeds/rendered-$$seed --overwrite && \
	  $(DIASCOPE) cross-validate --config configs/photos.toml --data $(PHOTOS) --by source \
	    --fold dermnet --fold sd198+melasma-web --fold rosacea-web+cafe-au-lait-web+spots-web \
	    --set seed=$$seed --init-from runs/seeds/rendered-$$seed/bundle \
	    --out runs/seeds/by-source-$$seed --overwrite || exit 1; \
	done
	@$(BIN)/python benchmarks/unseen.py $(PHOTOS) models/rendered \
	  runs/seeds/rendered-1/bundle runs/seeds/rendered-2/bundle

test: $(INSTALLED)
	@$(BIN)/python -m pytest

check: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix: $(INSTALLED)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	@rm -rf build dist $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
