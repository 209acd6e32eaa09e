# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval``: protocols, metric, robustness sweep and report of the evaluation (SPEC 10)."""
