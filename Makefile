# make setup: all that using and training need.  make train: learn a horse.  make test: every test.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
CMAKE := $(VENV)/bin/cmake
# Most of the tests' time is compilation, which uses one core each. Workers take the files in the
# order that tests/conftest.py gives them.
PYTEST_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
WORKDIR ?= runs/horse

# The Khronos validator that the tests ask about every .glb; without npm they skip, and say so.
GLTF_VALIDATOR := $(if $(shell command -v npm),build/npm/node_modules/gltf-validator/package.json)

.PHONY: setup train test test-fast lint sanitize clean

setup: $(VENV)/.setup

train: $(VENV)/.setup
	$(RUN) -m pony_jax.train --config=configs/horse.py --workdir=$(WORKDIR)

test: $(VENV)/.test $(GLTF_VALIDATOR)
	$(RUN) -m ruff check .
	$(RUN) -m pytest $(PYTEST_WORKERS)

test-fast: $(VENV)/.test $(GLTF_VALIDATOR)
	$(RUN) -m pytest $(PYTEST_WORKERS) -m "not slow"

lint: $(VENV)/.test
	$(RUN) -m ruff check .

# One stamp a set of dependencies, made anew when the project's requirements or sources of the
# compiled library change.
NATIVE := CMakeLists.txt $(shell find rasterizer_ffi pony_jax -name '*.cc' -o -name '*.h' -o -name '*.cu')

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pony_jax needs Python 3.11 or newer, found " + sys.version.split()[0] + "; run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[export]'
	touch $@

$(VENV)/.test: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[extract,export,usd,test]'
	touch $@ $(VENV)/.setup

build/npm/node_modules/gltf-validator/package.json:
	mkdir -p build/npm
	npm install --silent --no-fund --no-audit --prefix build/npm gltf-validator@2.0.0-dev.3.10 \
	  || echo "npm cannot install gltf-validator: the tests that ask it will skip"

# The rasteriser's kernels on hostile scenes and real threads, and the CUDA backend's loops on the
# host, under each sanitizer; then the tests of all kernels, in an environment
# of their own whose libraries look at every access. A test that ends its process says why with -s.
SANITIZED := build/sanitize-venv/bin/python
sanitize: $(VENV)/.test
	for kind in address,undefined thread; do \
	  $(CMAKE) -S . -B build/sanitize-$$kind -DCMAKE_BUILD_TYPE=None -DRASTERIZER_SANITIZE=$$kind && \
	  $(CMAKE) --build build/sanitize-$$kind --parallel && \
	  build/sanitize-$$kind/sanitize_kernels && \
	  build/sanitize-$$kind/sanitize_functors || exit 1; \
	done
	$(PYTHON) -m venv build/sanitize-venv
	$(SANITIZED) -m pip install --quiet --disable-pip-version-check -e '.[test]' \
	  -C build-dir=build/sanitize-ops -C cmake.build-type=None -C cmake.define.CMAKE_CXX_FLAGS="-O1 \
	  -g -fsanitize=address,undefined -fno-sanitize-recover=undefined"
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 $(SANITIZED) -m pytest $(PYTEST_WORKERS) -m "not slow" \
	  tests/kernels

clean:
	rm -rf $(VENV) build
