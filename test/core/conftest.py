# SPDX-License-Identifier: Apache-2.0
import os

import torch

import robotseg_core  # noqa: F401  Before ONNX Runtime: it turns its telemetry off.

# The models of these tests are so small that a second thread costs more than it brings.
torch.set_num_threads(1)
# Nor do commands that are called here take every core: it would stay so for all tests after them.
os.environ["OMP_NUM_THREADS"] = "1"
