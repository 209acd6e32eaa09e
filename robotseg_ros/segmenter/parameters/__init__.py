# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node, and what they are read into."""
