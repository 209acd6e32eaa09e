# SPDX-License-Identifier: Apache-2.0
"""The nodes beside the segmenter: self-filter, servo, safety monitor, viewer."""
