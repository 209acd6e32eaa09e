# SPDX-License-Identifier: Apache-2.0
"""Weights: where the files come from, how they are loaded and saved, and seeded ones for comparisons."""

from robotseg_core.weights.files import WeightsError
from robotseg_core.weights.load import load_weights, save_safetensors

__all__ = ["WeightsError", "load_weights", "save_safetensors"]
