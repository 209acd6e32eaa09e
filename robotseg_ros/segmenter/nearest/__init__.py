# SPDX-License-Identifier: Apache-2.0
"""Which of several robots the node means: the region and the depth limit of each camera, and its depth images."""
