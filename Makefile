# Each of lab, demo and test first makes .venv when it is missing, and again when pyproject.toml has changed.

PYTHON ?= python3
# Where a CPU build of torch is looked for when pip's own index has none.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# More arguments for JupyterLab: make lab LAB="--no-browser --port 9000"
LAB ?=
# More arguments for the race: make bench RACE="--python vllm=/path/to/its/python --json bench/results/race.json"
RACE ?=

export TORCH_CPU_INDEX
IN_VENV := .venv/bin/python -m

.PHONY: help setup model lab demo doctor test bench mutants soak notebooks pictures site lite clean

help:
	@echo "make lab        open the course in JupyterLab"
	@echo "make demo       watch a real model serve 24 requests from a page pool"
	@echo "make test       everything that CI runs"
	@echo "make bench      the race: the same requests for us and for whichever peers are installed"
	@echo "make mutants    faults planted in memory and scheduling, and whether the tests notice each"
	@echo "make soak       millions of random operations on memory, scheduler and engine, each proved right"
	@echo "make doctor     what works on this machine, and what to do where something does not"
	@echo "make notebooks  run the notebooks' sources and write their outputs"
	@echo "make pictures   draw the pictures of the README and the cheat sheet again"
	@echo "make site       the course as pages that open from a disk: build/site/index.html"
	@echo "make lite       five chapters that run in a browser, without an install: build/lite"
	@echo "make clean      remove .venv and caches (the model stays in your user cache)"

setup: .venv/installed

.venv/installed: pyproject.toml tools/install.py
	$(PYTHON) tools/install.py

model: setup
	@$(IN_VENV) pagedlab fetch

lab: model
	$(IN_VENV) jupyterlab --ServerApp.root_dir=. notebooks/00_start_here.ipynb $(LAB)

demo: model
	$(IN_VENV) pagedlab demo

doctor: setup
	$(IN_VENV) pagedlab doctor

# The quick stages first. Two workers with one thread each do more on two cores than two that share them; the tests of
# one file stay in one worker, which then loads its model once.
test: model
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy
	$(IN_VENV) tools.notebooks --check
	$(IN_VENV) pytest --nbval --nbval-current-env notebooks
	OMP_NUM_THREADS=1 $(IN_VENV) pytest -n 2 --dist loadfile tests

bench: model
	$(IN_VENV) bench.race $(RACE)

mutants: setup
	$(IN_VENV) tests.mutation

soak: setup
	$(IN_VENV) tests.memory.machine
	$(IN_VENV) tests.scheduling.machine
	$(IN_VENV) tests.engine.workload

notebooks: model
	$(IN_VENV) tools.notebooks

pictures: model
	$(IN_VENV) tools.pictures
	$(IN_VENV) tools.cheat_sheet

site: model
	$(IN_VENV) tools.site build/site --live

# Needs npm, which brings Pyodide. Then: python3 -m http.server --directory build/lite
lite: setup
	$(IN_VENV) pip install --quiet --editable ".[lite]"
	$(IN_VENV) tools.lite build/lite

clean:
	rm -rf .venv .venv.unfinished .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist artifacts
