# make demo   virtual environment, installation, the main job on the shipped sample
# make test   the same environment with the test tools: ruff, import-linter, mypy, pytest
#
# PYTHON=python3.12        another interpreter
# VENV=path                another environment
# TORCH_INDEX=URL          an extra package index for torch, such as the one of its CPU builds
# PYTEST_ARGS="-k camera"  more arguments for pytest

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
OUT ?= demo_out

BIN := $(VENV)/bin
TYPECHECK := build/typecheck
SANITIZED := build/sanitized
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	--constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SOURCES_OF_INSTALL := setup.cfg $(wildcard setup.py) pyproject.toml constraints.txt \
	$(wildcard diffrender/native/src/*)
PYTHON_SOURCES := $(shell find diffrender shape_priors datasets tools -name '*.py')

.PHONY: demo test lint types unit slow sanitize format clean

demo: $(VENV)/.installed
	$(BIN)/diffrender demo --out $(OUT)

test: lint types unit

lint: $(VENV)/.installed-test $(TYPECHECK)/.copied
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(TYPECHECK) && PYTHONPATH=. $(abspath $(BIN))/lint-imports --config $(abspath pyproject.toml) --no-cache

# Type checkers do not follow package_dir in an editable tree: they see a copy laid out as installed.
types: $(VENV)/.installed-test $(TYPECHECK)/.copied
	cd $(TYPECHECK) && $(abspath $(BIN))/mypy --config-file $(abspath pyproject.toml) -p diffrender
	cd $(TYPECHECK) && MYPYPATH=. $(abspath $(BIN))/mypy --config-file $(abspath pyproject.toml) \
		$(abspath $(wildcard benchmarks/*.py examples/*.py))

# Two processes with one thread each use two cores better than one process with two threads.
unit: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

# The kernels with gcc's checks of addresses and undefined behaviour, in a copy laid out as installed.
# What they find stops the run. A quarter of an hour.
sanitize: $(VENV)/.installed-test
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)/diffrender
	cp -R diffrender shape_priors datasets tools docs tests pyproject.toml $(SANITIZED)/
	mv $(SANITIZED)/shape_priors $(SANITIZED)/datasets $(SANITIZED)/tools $(SANITIZED)/diffrender/
	rm -f $(SANITIZED)/diffrender/native/*.so
	cd $(SANITIZED) && CXX="g++ -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
		PYTHONPATH=. $(abspath $(BIN))/python -m diffrender.native
	cd $(SANITIZED) && PYTHONPATH=. LD_PRELOAD=$$(g++ -print-file-name=libasan.so):$$(g++ -print-file-name=libubsan.so) \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
		$(abspath $(BIN))/pytest -s -p no:cacheprovider tests/native tests/raster tests/blocksparse tests/graph \
		tests/evaluate $(PYTEST_ARGS)

slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow $(PYTEST_ARGS)

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist demo_out *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES_OF_INSTALL) | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: $(SOURCES_OF_INSTALL) | $(VENV)/bin/python
	$(INSTALL) --editable '.[test]'
	touch $@ $(VENV)/.installed

$(TYPECHECK)/.copied: $(PYTHON_SOURCES) setup.cfg | $(VENV)/.installed-test
	rm -rf $(TYPECHECK)
	mkdir -p $(TYPECHECK)/diffrender
	cp -R diffrender shape_priors datasets tools $(TYPECHECK)/
	mv $(TYPECHECK)/shape_priors $(TYPECHECK)/datasets $(TYPECHECK)/tools $(TYPECHECK)/diffrender/
	touch $@
