# The front of the CMake build: every target works alone, from a bare Debian or Ubuntu on.
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
# The system's Python comes first: it is the one that Debian's pytest and NumPy belong to.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)

.DEFAULT_GOAL := build
.PHONY: help build demo test test-server test-fleet test-rerun test-lerobot asan cuda gpu-bundle bench \
  wheel package performance fuzz format clean deps

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

deps:
	@tools/install_dependencies.sh

build/%/build.ninja: CMakePresets.json | deps
	cmake --preset $* $(if $(CI),-DSACCADE_WERROR=ON)

define build_preset
	cmake --build --preset $(1) -j $(JOBS) $(2)
endef

# ctest knows the CLI's tests too, but hides pytest's own report.
define run_tests
	ctest --preset $(1) -j $(JOBS) -E '^cli$$'
	SACCADE_BIN=$(CURDIR)/build/$(1)/bin/saccade PYTHONDONTWRITEBYTECODE=1 \
	  $(PYTHON) -m pytest -q -p no:cacheprovider tests/cli tests/tools
endef

build: build/cpu/build.ninja ## Builds everything, build/cpu/bin/saccade above all (the default)
	$(call build_preset,cpu)

demo: build/cpu/build.ninja ## Makes a tiny random policy and runs it on two pictures
	$(call build_preset,cpu,--target saccade)
	rm -rf build/demo
	build/cpu/bin/saccade synth build/demo --model pi05
	build/cpu/bin/saccade infer build/demo --tokenizer examples/data/tiny_tokenizer.model \
	  --image front=examples/data/front.jpg --image wrist=examples/data/wrist.png \
	  --prompt "put the cup on the plate" \
	  --state 0.1,-0.2,0.3,0,0.5,0,1,0.1,-0.2,0.3,0,0.5,0,1

test: build ## Builds and runs all tests
	$(call run_tests,cpu)

build/server-venv/done: tests/server/requirements.txt
	@tools/install_dependencies.sh server
	$(PYTHON) -m venv --system-site-packages build/server-venv
	build/server-venv/bin/pip install -q -r $<
	touch $@

test-server: build build/server-venv/done ## Runs openpi's own client (from PyPI) against the server
	SACCADE_BIN=$(CURDIR)/build/cpu/bin/saccade PYTHONDONTWRITEBYTECODE=1 \
	  build/server-venv/bin/python -m pytest -q -rs -p no:cacheprovider tests/server

build/fleet-venv/done: tests/fleet/requirements.txt
	@tools/install_dependencies.sh server
	$(PYTHON) -m venv --system-site-packages build/fleet-venv
	build/fleet-venv/bin/pip install -q -r $<
	touch $@

test-fleet: build build/fleet-venv/done ## Runs openpi's own client against engines behind Ray Serve (from PyPI)
	SACCADE_BIN=$(CURDIR)/build/cpu/bin/saccade PYTHONDONTWRITEBYTECODE=1 \
	  build/fleet-venv/bin/python -m pytest -q -p no:cacheprovider tests/fleet

build/rerun-venv/done: tests/server/rerun_requirements.txt
	@tools/install_dependencies.sh server
	$(PYTHON) -m venv build/rerun-venv
	build/rerun-venv/bin/pip install -q -r $<
	touch $@

test-rerun: build build/server-venv/done build/rerun-venv/done ## Reads back what the server shows in Rerun (170 MB from PyPI)
	SACCADE_BIN=$(CURDIR)/build/cpu/bin/saccade PYTHONDONTWRITEBYTECODE=1 \
	  SACCADE_PYTHON=$(CURDIR)/build/rerun-venv/bin/python \
	  build/server-venv/bin/python -m pytest -q -rs -p no:cacheprovider tests/server/test_rerun.py

build/lerobot-venv/done: tests/lerobot/requirements.txt python/lerobot_policy_saccade/pyproject.toml
	@tools/install_dependencies.sh server
	$(PYTHON) -m venv build/lerobot-venv
	build/lerobot-venv/bin/pip install -q -r $<
	build/lerobot-venv/bin/pip install -q --no-deps -e python/lerobot_policy_saccade
	touch $@

test-lerobot: build build/lerobot-venv/done ## Runs LeRobot (8 GB from PyPI, with torch) with Saccade as its policy
	SACCADE_BIN=$(CURDIR)/build/cpu/bin/saccade PYTHONDONTWRITEBYTECODE=1 \
	  build/lerobot-venv/bin/python -m pytest -q -p no:cacheprovider tests/lerobot

asan: build/asan/build.ninja ## Runs all tests under AddressSanitizer and UBSan
	$(call build_preset,asan)
	$(call run_tests,asan)

cuda: build/cuda/build.ninja ## Builds the CUDA code too, and fails where nvcc is missing
	$(call build_preset,cuda)

gpu-bundle: build/cuda/build.ninja ## Gathers in bundle/ what runs on a bare machine with a GPU
	$(call build_preset,cuda,--target saccade cuda_test op_bench micro_bench)
	tools/make_gpu_bundle.sh build/cuda bundle

bench: build/cpu/build.ninja ## Times every op, on a GPU where one is there
	$(call build_preset,cpu,--target op_bench)
	build/cpu/bin/op_bench $(BENCH_FILTER)

wheel: ## Makes a self-contained Python wheel in build/wheel
	@tools/install_dependencies.sh wheel
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) tools/make_wheel.sh $(PYTHON) build/wheel

package: wheel ## Makes a relocatable tarball, tries it elsewhere, and puts it beside the wheel in build/dist
	cmake -S . -B build/package -G Ninja -DCMAKE_BUILD_TYPE=Release -DSACCADE_TESTS=OFF \
	  -DSACCADE_STATIC_CUDART=ON $(PACKAGE_OPTIONS)
	cmake --build build/package -j $(JOBS) --target saccade saccade_shared
	rm -rf build/dist
	tools/make_package.sh build/package build/dist
	tools/test_package.sh build/dist/*.tar.gz
	cp build/wheel/*.whl build/dist/

performance: ## Makes docs/performance.md of the results in bench/results
	$(PYTHON) tools/make_performance_page.py

fuzz: ## Fuzzes every file format for FUZZ_SECONDS=60 each
	@tools/install_dependencies.sh fuzz
	cmake --preset fuzz
	$(call build_preset,fuzz)
	tools/run_fuzzers.sh build/fuzz $(FUZZ_SECONDS)

format: ## Formats the C++ and CUDA sources in place
	@tools/install_dependencies.sh format
	find include src cli tests bench examples -name '*.h' -o -name '*.c' -o -name '*.cc' \
	  -o -name '*.cu' -o -name '*.cuh' | xargs clang-format -i

clean: ## Removes build/
	rm -rf build
