# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL under GRPO, as Seg-R1 was trained (SEGR1 4, 5): for who has a GPU, the weights and the pictures."""
