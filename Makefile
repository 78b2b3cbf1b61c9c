# The user's front; CMakeLists.txt is the build. `make help` lists what there is.
BUILD := build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
# Where make bench draws, and what else bench/bench.py is told: BENCH='--only kernels'.
FIGURES ?= $(BUILD)/figures
BENCH ?=

.PHONY: all demo test bench bench-peers bench-products bench-programs install clean format help

all:
	@scripts/install-packages.sh build
	@scripts/build.sh $(BUILD) $(JOBS) -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON

demo: all
	@scripts/demo.sh

test:
	@scripts/test.sh

bench: bench-programs
	@scripts/install-packages.sh bench || echo 'make bench goes on without what these packages are for' >&2
	@python3 bench/bench.py --stpn $(BUILD)/stpn --json $(BUILD)/bench.json --figures $(FIGURES) $(BENCH)

bench-peers: all
	@python3 bench/bench.py --stpn $(BUILD)/stpn --only recurrent --rounds 7 $(BENCH)

bench-products:
	@scripts/install-packages.sh products
	@$(MAKE) --no-print-directory bench-programs
	@$(BUILD)/bench_products

bench-programs:
	@scripts/install-packages.sh build
	@scripts/build.sh $(BUILD) $(JOBS) -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_BENCH=ON

install: all
	@scripts/cmake.sh --install $(BUILD) --prefix "$(abspath $(PREFIX))"

clean:
	rm -rf build build-*

format:
	@scripts/format.sh

help:
	@echo 'make                     build/stpn, build/libstpn.so and build/libstpn.a; installs missing packages when it may'
	@echo 'make demo                the main job, start to end'
	@echo 'make test                every test and check, installs included'
	@echo 'make bench               speed and memory beside the machine, PyTorch and JAX: 20 minutes (bench/README.md)'
	@echo 'make bench-peers         training with lstm, gru and rnn beside PyTorch'
	@echo 'make bench-products      matrix products beside OpenBLAS'
	@echo 'make install PREFIX=DIR  command, libraries, header, manual page, completions (default /usr/local)'
	@echo 'make format              clang-format over all sources'
	@echo 'make clean               remove every build folder'
	@echo 'JOBS=N sets the number of compilers that run at once.'
