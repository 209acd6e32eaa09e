# SPDX-License-Identifier: Apache-2.0
"""How good masks for requests are: foreground and referring metrics (SEGR1 6), sets of requests, one table."""
