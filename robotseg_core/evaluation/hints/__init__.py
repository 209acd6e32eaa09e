# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-hints``: what a model does with what it is told, and what its memory is worth."""
