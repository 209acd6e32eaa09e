# SPDX-License-Identifier: Apache-2.0
"""Public sets of requests and foregrounds for who has them: layouts on disk, and their scores (SEGR1 6.5)."""
