# SPDX-License-Identifier: Apache-2.0
"""All of a step but the encoder, in three ways: operator by operator, as ONNX graphs, as CUDA graphs."""
