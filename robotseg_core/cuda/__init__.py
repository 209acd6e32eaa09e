# SPDX-License-Identifier: Apache-2.0
"""What CUDA needs under the model: attention kernels, functions recorded as graphs."""
