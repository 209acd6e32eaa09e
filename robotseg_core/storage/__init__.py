# SPDX-License-Identifier: Apache-2.0
"""Files that others may reach: written whole, locked, trusted when they are ours, named for what they are."""
