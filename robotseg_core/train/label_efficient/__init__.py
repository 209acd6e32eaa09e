# SPDX-License-Identifier: Apache-2.0
"""Learning from frames without labels: LET (SPEC 9) and self-training."""
