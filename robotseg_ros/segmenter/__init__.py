# SPDX-License-Identifier: Apache-2.0
"""The segmenter node: the way of a frame from topic to topic."""
