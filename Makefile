# The user's front; CMakeLists.txt is the build. `make help` lists what there is.
BUILD := build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

.PHONY: all demo test bench bench-peers bench-products install clean format help

all:
	@scripts/install-packages.sh build
	@scripts/build.sh $(BUILD) $(JOBS) -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON

demo: all
	@scripts/demo.sh

test:
	@scripts/test.sh

bench: all
	@$(BUILD)/stpn bench

bench-peers: all
	@python3 bench/recurrent.py --stpn $(BUILD)/stpn

bench-products:
	@scripts/install-packages.sh bench
	@scripts/build.sh $(BUILD) $(JOBS) -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_BENCH=ON
	@$(BUILD)/bench_products

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
	@echo 'make bench               time per synapse and step on this machine'
	@echo 'make bench-peers         training with lstm, gru and rnn beside PyTorch (bench/README.md)'
	@echo 'make bench-products      matrix products beside OpenBLAS'
	@echo 'make install PREFIX=DIR  command, libraries, header, manual page, completions (default /usr/local)'
	@echo 'make format              clang-format over all sources'
	@echo 'make clean               remove every build folder'
	@echo 'JOBS=N sets the number of compilers that run at once.'
