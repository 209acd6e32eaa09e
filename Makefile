# SPDX-License-Identifier: Apache-2.0
# make setup: .venv with everything, the messages built.  make demo [INPUT=...]: play a clip through the node.
# make test: linters, types and all tests.  make parity [REFERENCE=folder]: the base model against golden data.
# make trt-conformance: our TensorRT calls against NVIDIA's bindings, downloaded; no GPU needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUT ?= demo/clip.mp4
REFERENCE ?= ../shared/reference

# The ROS wheels search the libraries of one environment only and remember it in these variables.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH

.PHONY: setup demo test parity trt-conformance lint clean
setup: $(VENV)/installed

$(VENV)/requirements: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13) and "Python 3.10 to 3.13 is needed, PYTHON=$(PYTHON) is %d.%d" % sys.version_info[:2])'
	@echo "installing into $(VENV): some minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/list_requirements.py build runtime dev synth train bag view > $(VENV)/requirements.in
	$(PIP) install --constraint constraints.txt --requirement $(VENV)/requirements.in
	touch $@

# Editable: changed Python modules need no new installation; messages, launch and config files do.
INSTALLED := setup.py CMakeLists.txt package.xml $(wildcard cmake/* msg/* launch/* config/* scripts/* models/*)
$(VENV)/installed: $(VENV)/requirements $(INSTALLED)
	@echo "building the messages and installing robotseg_ros: half a minute"
	$(PIP) install --no-build-isolation --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/python -m robotseg_ros.demo "$(INPUT)" --out out/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

parity: setup
	$(BIN)/robotseg parity --inputs $(REFERENCE)/inputs.npz --goldens $(REFERENCE)/goldens.npz

# Bindings only, without TensorRT itself: 1 MB each.
trt-conformance: setup
	rm -rf build/tensorrt
	$(PIP) download --no-deps --dest build/tensorrt 'tensorrt-cu12-bindings==10.13.*'
	$(PIP) download --no-deps --dest build/tensorrt 'tensorrt-cu13-bindings==11.*'
	ROBOTSEG_TRT_WHEELS=build/tensorrt $(BIN)/python -m pytest test/core/test_tensorrt.py

clean:
	rm -rf $(VENV) build *.egg-info robotseg_ros/msg robotseg_ros/*.so
