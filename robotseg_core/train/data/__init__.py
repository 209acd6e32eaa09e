# SPDX-License-Identifier: Apache-2.0
"""Training pictures: where they come from, how they are changed, how they become batches."""
