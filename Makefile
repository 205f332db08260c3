# A thin front over CMake. `make help` lists the targets.

.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
CTEST = ctest --output-on-failure --no-tests=error -j $(JOBS)

.PHONY: help demo test test-slow bench gpu-bundle build check analyze asan tsan fuzz format install clean deps deps-dev

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: build ## install what is missing, build, and run the demo
	build/release/hadal demo

test: build ## the same, then the fast test suite
	$(CTEST) --test-dir build/release -LE slow

test-slow: build ## the slow tests alone
	$(CTEST) --test-dir build/release -L slow

build: deps ## build build/release
	@test -f build/$(PRESET)/build.ninja || cmake --preset $(PRESET)
	@cmake --build build/$(PRESET) -j $(JOBS)

gpu-bundle: build ## build/gpu-bundle: program and script for a machine that has a GPU and no build
	@mkdir -p build/gpu-bundle
	@strip -o build/gpu-bundle/hadal build/release/hadal-gpu
	@cp scripts/gpu-check build/gpu-bundle/gpu-check
	@du -sh build/gpu-bundle

bench: build ## every benchmark; each prints its figure, the machine's limit and the ratio
	@scripts/bench build/release

check: deps-dev ## formatting, clang-tidy, arrows, headers that compile alone, dead files
	@scripts/check

analyze: deps-dev ## clang's static analyzer over every source file; slow
	@scripts/check analyzer

asan: deps ## the fast suite under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory build PRESET=asan
	$(CTEST) --test-dir build/asan -LE slow

tsan: deps ## the fast suite under ThreadSanitizer
	@$(MAKE) --no-print-directory build PRESET=tsan
	$(CTEST) --test-dir build/tsan -LE slow

fuzz: deps-dev ## every fuzzer for FUZZ_SECONDS (default 30) each
	@$(MAKE) --no-print-directory build PRESET=fuzz
	@scripts/fuzz build/fuzz

format: deps-dev ## rewrite the sources with clang-format
	@git ls-files '*.h' '*.cpp' '*.cuh' | xargs clang-format-19 -i

install: build ## install the program and the Python module under PREFIX (default /usr/local)
	cmake --install build/release $(if $(PREFIX),--prefix $(PREFIX))

clean: ## remove build/
	rm -rf build

deps:
	@scripts/bootstrap

deps-dev:
	@scripts/bootstrap --dev
