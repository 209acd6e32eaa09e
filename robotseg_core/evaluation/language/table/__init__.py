# SPDX-License-Identifier: Apache-2.0
"""Many ways of answering the same requests side by side: each frame is encoded once (SEGR1 10.7)."""
