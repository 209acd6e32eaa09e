# SPDX-License-Identifier: Apache-2.0
# make setup: .venv with everything, the messages built.  make demo [INPUT=...] [VIEW=1]: play a clip through the node,
# with VIEW=1 for Foxglove to look at.
# make train-demo: render generated robots, train for some minutes, score other videos; a curve and a picture.
# make docs: the pages, in build/site; strict about links.  make tables: those of the papers, from the code.
# make test [WORKERS=2]: linters, types and all tests, on so many processes.
# make parity [REFERENCE=folder]: the base model against golden data.
# make fuzz [INPUTS=1000000]: damaged messages against codec and handlers.  make soak [FRAMES=100000]: many frames
# through the node; memory, threads and latency have to stay as they are.  Figures and plot in out/soak/.
# make kills [TIMES=2]: signals in the middle of node, demo, bag, training and rendering; nothing may be left.
# make soak PRESET=cell [SECONDS=3600]: three cameras at 30 Hz, hints, slow readers, damaged images; out/soak_cell/.
# make witness: the SAM 2 parts against those of the package transformers, downloaded (275 MB unpacked).
# make trt-conformance: our TensorRT calls against NVIDIA's bindings, downloaded; no GPU needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUT ?= demo/clip.mp4
REFERENCE ?= ../shared/reference
INPUTS ?= 1000000
FRAMES ?= 100000
TIMES ?= 2
SECONDS ?= 3600
WORKERS ?= 2

# The ROS wheels search the libraries of one environment only and remember it in these variables.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH

# Tools that are run beside the product tell nobody anything either.
export ORT_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: setup demo train-demo test docs tables parity witness fuzz kills soak trt-conformance lint clean
setup: $(VENV)/installed

# Not compiled: Python does that with what it imports, and most modules of these packages never are.
$(VENV)/requirements: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14) and "Python 3.10 to 3.14 is needed, PYTHON=$(PYTHON) is %d.%d" % sys.version_info[:2])'
	@echo "installing into $(VENV): some minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/list_requirements.py build runtime dev synth train bag view docs lerobot ray > $(VENV)/requirements.in
	$(if $(HASHES),$(BIN)/python scripts/locked_requirements.py > $(VENV)/requirements.lock)
	$(if $(HASHES),$(PIP) install --no-compile --require-hashes --no-deps --requirement $(VENV)/requirements.lock)
	$(PIP) install --no-compile --constraint constraints.txt --requirement $(VENV)/requirements.in
	touch $@

# Editable: changed Python modules need no new installation; messages, launch and config files do.
INSTALLED := setup.py CMakeLists.txt package.xml $(wildcard cmake/* msg/* srv/* launch/* config/* scripts/* models/*)
$(VENV)/installed: $(VENV)/requirements $(INSTALLED)
	@echo "building the messages and installing robotseg_ros: half a minute"
	$(PIP) install --no-build-isolation --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/python -m robotseg_ros.tools.demo "$(INPUT)" --out out/demo $(if $(VIEW),--view)

# Everything that is there already is kept: an interrupted demo goes on, a finished one is scored again.
TRAIN_DEMO := out/train_demo
# Robots that do not exist, so that no model of a real one is needed.
DEMO_VIDEOS := --robots $(TRAIN_DEMO)/robots --procedural 1 --frames 8 --size 256 256 --jobs 2
train-demo: setup
	mkdir -p $(TRAIN_DEMO)/robots/arms
	$(BIN)/robotseg synth $(DEMO_VIDEOS) --count 64 --seed 1 --out $(TRAIN_DEMO)/train
	$(BIN)/robotseg synth $(DEMO_VIDEOS) --count 8 --seed 2 --empty 0 --out $(TRAIN_DEMO)/test
	$(BIN)/robotseg train config/train_demo.yaml --out $(TRAIN_DEMO)/run --export $(TRAIN_DEMO)/nano.safetensors
	$(BIN)/robotseg eval $(TRAIN_DEMO)/test --weights $(TRAIN_DEMO)/nano.safetensors --image-size 128 --out $(TRAIN_DEMO)/eval
	$(BIN)/python scripts/train_demo_picture.py $(TRAIN_DEMO)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Many tests wait for processes and ROS discovery most of the time.
test: lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

docs: setup
	$(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

tables: setup
	$(BIN)/python scripts/tables.py

parity: setup
	$(BIN)/robotseg parity --inputs $(REFERENCE)/inputs.npz --goldens $(REFERENCE)/goldens.npz

fuzz: setup
	$(BIN)/python test/ros/fuzz.py --inputs $(INPUTS)

kills: setup
	PYTHONPATH=test/ros:test/core $(BIN)/python test/ros/kills.py --times $(TIMES)

soak: setup
	$(BIN)/python -m robotseg_ros.tools.soak --frames $(FRAMES) $(if $(PRESET),--preset $(PRESET) --seconds $(SECONDS)) \
		--out out/soak$(if $(PRESET),_$(PRESET))

# Not in the environment: one test needs it, and it brings 30 packages.
witness: setup
	rm -rf build/witness
	$(PIP) install --target build/witness --constraint constraints.txt 'transformers==5.*'
	PYTHONPATH=build/witness $(BIN)/python -m pytest test/core/model/test_sam2_witness.py

# Bindings only, without TensorRT itself: 1 MB each.
trt-conformance: setup
	rm -rf build/tensorrt
	$(PIP) download --no-deps --dest build/tensorrt 'tensorrt-cu12-bindings==10.13.*'
	$(PIP) download --no-deps --dest build/tensorrt 'tensorrt-cu13-bindings==11.*'
	ROBOTSEG_TRT_WHEELS=build/tensorrt $(BIN)/python -m pytest test/core/backends/test_tensorrt.py

clean:
	rm -rf $(VENV) build *.egg-info robotseg_ros/msg robotseg_ros/srv robotseg_ros/*.so
