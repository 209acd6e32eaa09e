# SPDX-License-Identifier: Apache-2.0
"""Requests in words in the node: what is asked, and the target that is followed."""
