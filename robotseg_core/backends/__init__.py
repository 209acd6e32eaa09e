# SPDX-License-Identifier: Apache-2.0
"""The image encoder behind one interface, one file for each backend; exported graphs and engines on disk."""
