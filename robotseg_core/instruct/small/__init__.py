# SPDX-License-Identifier: Apache-2.0
"""The small policy (SEGR1 10.2 to 10.4): words and a frame's features to tokens, tokens to boxes and points."""
