# The commands that people need, in the active environment: pip install -e ".[test,lint,docs]"
PYTHON ?= python
WORKERS ?= 2

.PHONY: help test test-slow lint demo bench docs picture

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

test:  ## the fast tests
	$(PYTHON) -m pytest -n $(WORKERS)

test-slow:  ## all tests, the tutorials included
	$(PYTHON) -m pytest -n $(WORKERS) --slow

lint:  ## style, types, layers, and whether imports.svg is that of the code
	ruff check .
	ruff format --check .
	mypy --config-file setup.cfg
	lint-imports
	$(PYTHON) tools/draw_imports.py --check

demo:  ## fit, test and run silicon; writes gapkit-demo/
	gapkit demo -o gapkit-demo

bench:  ## evaluation, rows and neighbour lists on this machine; benchmarks/README.md lists the others
	OMP_NUM_THREADS=1 $(PYTHON) benchmarks/speed.py

docs:  ## the tutorials as notebooks, not executed, in build/notebooks; there is no site yet
	mkdir -p build/notebooks
	for lesson in tutorials/[0-9]*.py; do \
		$(PYTHON) -m jupytext --quiet --to ipynb --output build/notebooks/$$(basename $$lesson .py).ipynb $$lesson || exit 1; \
	done

picture:  ## draw imports.svg, and print the table of sizes
	$(PYTHON) tools/draw_imports.py
	$(PYTHON) tools/draw_imports.py --table
